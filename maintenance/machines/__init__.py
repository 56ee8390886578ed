"""What other programs ask: metrics for Prometheus, and a small JSON API. Off without a token."""
