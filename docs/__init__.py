"""The documentation: pages, and how Sphinx builds them."""
