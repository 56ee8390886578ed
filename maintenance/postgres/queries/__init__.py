"""Statements: what they cost, and what changed."""
