"""What was due beside what happened, and whether anybody is at work: what others may rely on."""
