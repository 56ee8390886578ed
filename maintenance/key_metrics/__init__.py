"""The guide's key metrics: how they stand, for the dashboard and for digests."""
