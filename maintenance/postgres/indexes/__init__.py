"""Indexes: what they are, who reads them, which are missing or too many."""
