"""Latencies of any number of requests in a few hundred counts, with a known error.

Bucket ``i`` holds what lies between two powers of :data:`GROWTH`, and stands for one value between
them that is off by 2 % at most (Masson, Rim, Lee, "DDSketch", VLDB 2019, section 2). Histograms of
any parts of a log can be added up, which quantiles cannot.
"""

import math
from collections.abc import Sequence

#: Of every quantile that is reported.
RELATIVE_ERROR = 0.02
GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
#: Nginx writes milliseconds; Apache's microseconds below a tenth of one are no latency of a page.
SMALLEST_SECONDS = 0.0001
#: A day: no connection lives as long.
LARGEST_SECONDS = 86_400.0

_LOG_GROWTH = math.log(GROWTH)
BUCKETS = 2 + math.ceil(math.log(LARGEST_SECONDS / SMALLEST_SECONDS) / _LOG_GROWTH)
#: Where requests without a time are counted: behind the buckets.
NO_TIME = BUCKETS


def empty_counts() -> list[int]:
    """Return the counts of no request: one for each bucket, and :data:`NO_TIME`."""
    return [0] * (BUCKETS + 1)


def bucket_of(seconds: float) -> int:
    """Return the bucket of a latency; 0 is everything up to :data:`SMALLEST_SECONDS`."""
    if seconds <= SMALLEST_SECONDS:
        return 0
    exponent = math.ceil(math.log(seconds / SMALLEST_SECONDS) / _LOG_GROWTH)
    return min(exponent, BUCKETS - 1)


def seconds_of(bucket: int) -> float:
    """Return the value that a bucket stands for."""
    if bucket == 0:
        return 0.0
    return SMALLEST_SECONDS * 2 * GROWTH**bucket / (GROWTH + 1)


def measured(counts: Sequence[int]) -> int:
    """Return how many requests had a time."""
    return sum(counts[:BUCKETS])


def quantile(counts: Sequence[int], ratio: float) -> float | None:
    """Return the latency in seconds that ``ratio`` of the requests did not exceed.

    It is the nearest rank's, off by :data:`RELATIVE_ERROR` at most; ``None`` of no request.
    """
    total = measured(counts)
    if total == 0:
        return None
    rank = max(1, math.ceil(ratio * total))
    passed = 0
    for bucket in range(BUCKETS):
        passed += counts[bucket]
        if passed >= rank:
            return seconds_of(bucket)
    raise AssertionError("the ranks of a histogram end with its total")


def total_seconds(counts: Sequence[int]) -> float:
    """Return the sum of the latencies, with the error of a single one."""
    return sum(counts[bucket] * seconds_of(bucket) for bucket in range(BUCKETS) if counts[bucket])
