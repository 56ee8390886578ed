"""Bloated indexes rebuilt beside the application, and what interrupted rebuilds left dropped."""
