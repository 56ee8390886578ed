"""What needs a person: how things stand, the lives of findings and who muted them, and alarms."""
