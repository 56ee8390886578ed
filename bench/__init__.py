"""What `make bench` measures: ratios against a named peer in one run, and limits of the product."""
