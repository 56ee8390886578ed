"""Standard errors of means over sampled pages and over strata. Pure."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TypeVar

Stratum = TypeVar("Stratum", bound=Hashable)


def evenly(blocks: Sequence[int], wanted: int) -> Sequence[int]:
    """Return so many of the blocks, or all, from all parts of the table alike."""
    if wanted >= len(blocks):
        return blocks
    return [blocks[number * len(blocks) // wanted] for number in range(wanted)]


def error_by_page(blocks: Sequence[int], sizes: Sequence[float]) -> float:
    """Return the standard error of the mean size, as a share of it; what lies on one page is alike.

    ``blocks`` says where each size was read. The pages come from all parts of the table, so that only what
    neighbouring ones differ by is left to chance (successive differences: Cochran, *Sampling Techniques*,
    1977, chapter 8).
    """
    mean = fmean(sizes)
    by_page: defaultdict[int, float] = defaultdict(float)
    for block, size in zip(blocks, sizes, strict=True):
        by_page[block] += size - mean
    surplus = [by_page[block] for block in sorted(by_page)]
    if len(surplus) < 2:
        return error_of_mean(sizes, math.inf) / mean
    differences = sum((a - b) ** 2 for a, b in pairwise(surplus))
    variance = differences / 2 * len(surplus) / (len(surplus) - 1)
    return math.sqrt(variance) / len(sizes) / mean


def error_of_strata(
    counts: Mapping[Stratum, int], sizes: Mapping[Stratum, Sequence[float]]
) -> float:
    """Return the standard error of the mean size, as a share of it, over strata that were sampled apart.

    Each counts by its number in ``counts``, however many ``sizes`` of it were looked at (Cochran, chapter 5).
    """
    total = sum(counts.values())
    mean = variance = 0.0
    for stratum, count in counts.items():
        mean += count / total * fmean(sizes[stratum])
        variance += (count / total * error_of_mean(sizes[stratum], math.inf)) ** 2
    return math.sqrt(variance) / mean


def error_of_mean(values: Sequence[float], population: float) -> float:
    """Return the standard error of the mean, with the finite population correction."""
    count = len(values)
    if count < 2:
        return 0.0 if count >= population else 1.0
    mean = fmean(values)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return math.sqrt(variance / count * max(0.0, 1 - count / population))
