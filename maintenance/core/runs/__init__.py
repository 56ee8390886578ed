"""One run from the wish to its report: recorded, sent, claimed, worked on, and ended."""
