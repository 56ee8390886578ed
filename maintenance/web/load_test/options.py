"""What a person decides about one load test."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadTestOptions:
    """``dry_run`` shows the pages, their shares and the bounds, and asks the site for nothing."""

    dry_run: bool = False
