"""Images that people uploaded: made smaller where that pays, and files that no row names."""
