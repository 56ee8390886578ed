"""Autovacuum settings of single tables: given on request, tried for a time, kept or taken back."""
