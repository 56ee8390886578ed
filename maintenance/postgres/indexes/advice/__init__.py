"""Which index would spare the costliest statements most, and the proof of it."""
