"""A load test of a site's own pages: bounded, fenced in, and made by Locust in a process of its own."""
