"""The machine that a worker runs on."""
