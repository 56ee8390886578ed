"""Faults of every kind against real processes, and a count of what they broke: see ``docs/reliability.md``."""
