"""Memory of the processes that serve a site: measured now, and told over time."""
