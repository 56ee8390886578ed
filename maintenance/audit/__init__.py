"""The monthly audit: what every subject said last, beside a month ago, in one report."""
