"""Statistics targets of single columns: raised on request, tried for a time, kept or taken back."""
