"""Static files: compressed, cached, and where the site's pages say they are."""
