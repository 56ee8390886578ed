"""When queries are profiled and what of it is written: the guide's settings, and a few beside them."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class ProfilingSettings:
    """The site's settings.

    ``threshold_ms`` is of all queries of a request together, ``count_threshold`` how many there
    are; a request is written from either on. So it is where one line of code sends the same
    statement ``repeats`` times, or one statement brings ``large_rows`` rows, whatever it takes.
    ``sample_ratio`` of all requests and tasks are profiled.
    """

    enabled: bool
    threshold_ms: float
    count_threshold: int
    sample_ratio: float
    repeats: int
    large_rows: int

    @classmethod
    def current(cls) -> "ProfilingSettings":
        """Read ``django.conf.settings``."""
        return cls(
            enabled=bool(getattr(settings, "ENABLE_QUERY_PROFILING", False)),
            # The guide's own values for the next two.
            threshold_ms=float(getattr(settings, "QUERY_PROFILE_THRESHOLD_MS", 1000)),
            count_threshold=int(getattr(settings, "QUERY_COUNT_THRESHOLD", 50)),
            sample_ratio=float(getattr(settings, "QUERY_PROFILE_SAMPLE_RATIO", 1.0)),
            # A page of five entries is the smallest that a site shows in a loop.
            repeats=max(2, int(getattr(settings, "QUERY_REPEAT_THRESHOLD", 5))),
            # Django's objects of so many rows take some ten megabytes.
            large_rows=int(getattr(settings, "QUERY_LARGE_RESULT_ROWS", 5000)),
        )
