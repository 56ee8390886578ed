"""A 95 % confidence interval for a mean of page shares that holds for skewed samples too.

Pages of a bloated table are often alike but for a few: a handful of full ones among empty ones, or
the other way round. The normal interval then is far too short. This one is the empirical likelihood
interval (Owen, *Empirical Likelihood*, 2001, chapter 2), whose limits follow the skew of the sample,
with one more page at the far end (Chen, Variyath and Abraham, 2008), which stands for the pages that
no sample has shown: a sample of equal pages leaves that doubt, too.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

#: Sampling stops at the first interval that is narrow enough, of four or five that are looked at:
#: each is made for 98 %, so that the last one holds in 95 % (Pocock, 1977: 2.36 for four looks).
Z = NormalDist().inv_cdf(0.99)
#: Below, the sample says nothing about the pages it has not seen.
FEWEST_PAGES = 4
#: Shares are grouped this finely, which keeps the work independent of the size of the sample.
GROUPS_PER_UNIT = 100
#: Halvings of the range of log k, which is 60 wide: they leave an error of a ten-millionth.
_BISECTIONS = 30


def t_quantile(degrees_of_freedom: int) -> float:
    """Return the two-sided 98 % quantile of Student's t, by its expansion in 1 / degrees.

    Abramowitz and Stegun, 26.7.5; right to 3 % from 3 degrees on.
    """
    z, d = Z, degrees_of_freedom
    return (
        z
        + (z**3 + z) / (4 * d)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * d**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * d**3)
    )


def mean_limits(shares: Sequence[float], population: int) -> tuple[float, float]:
    """Return the limits of the mean over ``population`` pages, of which ``shares`` are a sample.

    Shares are 0 to 1, or more where pages are fuller than a fresh one. The finite population
    correction shortens the interval by the part of the table that was seen.
    """
    count = len(shares)
    top = max(1.0, *shares)
    if count < FEWEST_PAGES < population:
        return 0.0, top
    mean = sum(shares) / count
    unseen = math.sqrt(max(0.0, 1 - count / population))
    limit = t_quantile(max(1, count - 1)) ** 2
    low = _lowest_mean(_grouped(shares), limit)
    high = top - _lowest_mean(_grouped(top - share for share in shares), limit)
    return mean - (mean - low) * unseen, mean + (high - mean) * unseen


def _grouped(values: Iterable[float]) -> list[tuple[float, int]]:
    """Return (mean of a group, how many): equal or nearly equal values stand together."""
    groups: dict[int, tuple[float, int]] = {}
    for value in values:
        key = round(value * GROUPS_PER_UNIT)
        total, count = groups.get(key, (0.0, 0))
        groups[key] = (total + value, count + 1)
    return [(max(0.0, total / count), count) for total, count in groups.values()]


def _lowest_mean(groups: Sequence[tuple[float, int]], limit: float) -> float:
    """Return the smallest mean that the values, with one more at 0, make likely enough.

    Weights that make a mean most likely are proportional to ``1 / (value + k)``; the smaller k, the
    smaller the mean and its likelihood. Twice the loss of log likelihood may reach ``limit``.
    """
    values = [(0.0, 1), *groups]
    count = sum(n for _, n in values)
    low, high = -30.0, 30.0  # of log k
    k = total = 0.0
    for _ in range(_BISECTIONS):
        k = math.exp((low + high) / 2)
        total = sum(n / (value + k) for value, n in values)
        loss = 2 * sum(n * math.log(total * (value + k) / count) for value, n in values)
        if loss > limit:
            low = math.log(k)
        else:
            high = math.log(k)
    return sum(n * value / (value + k) for value, n in values) / total
