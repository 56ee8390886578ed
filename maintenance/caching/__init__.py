"""Caches: warm when they should be, stale when they must be, measured by their hits.

A site registers its warmers with :func:`maintenance.caching.warming.warmer`.
"""
