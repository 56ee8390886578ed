"""The sample site: a library network with planted faults, to try the product on.

`build` fills a PostgreSQL database and a Redis of their own and returns the truth: what is wrong
in them, in numbers, and which task must say so. maintenance.toml beside this module looks after
the site; warmers.py computes the values that its cache lacks.
"""

from service.sample_site.builder import build
from service.sample_site.errors import SampleSiteError
from service.sample_site.truth import Truth

__all__ = ["SampleSiteError", "Truth", "build"]
