"""VACUUM and ANALYZE: what needs them, doing it, and the proof."""
