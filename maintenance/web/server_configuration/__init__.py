"""Nginx and Gunicorn as they are set up, and as they should be."""
