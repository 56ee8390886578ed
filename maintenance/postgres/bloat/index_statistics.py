"""Entries of an index as ANALYZE saw them: for indexes whose keys must not be computed here."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from maintenance.postgres.bloat.btree_model import Entry, index_tuple_bytes
from maintenance.postgres.bloat.tuple_size import SHORT_VALUE_BYTES

#: Entries that stand for all of them.
ENTRIES = 4000
#: An expression's avg_width counts the header of a short value as four bytes, not one.
EXPRESSION_EXCESS_BYTES = 3
#: Up to so many rows a key their spread matters; beyond, alignment and rests even out.
MOST_SPREAD_ROWS = 50


def has_statistics(columns: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether each column has statistics that this role sees."""
    return bool(columns) and all(column["mean_bytes"] is not None for column in columns)


def rows_by_catalog(row: Mapping[str, Any]) -> float:
    """Return the rows that the index must hold: live ones, of a partial index its share of them."""
    live, known = row["live_rows"], row["table_rows"]
    if not row["partial"]:
        # The counter is lost in a crash; then the catalog's count is all there is.
        return float(live if live > 0 else max(known, 0.0))
    entries = max(row["entries"], 0.0)
    return float(entries * live / known) if live > 0 and known > 0 else float(entries)


def entries_by_statistics(
    columns: Sequence[Mapping[str, Any]], rows: float, rng: random.Random
) -> tuple[Entry, ...]:
    """Make up entries of the mean size, whose keys occur as often as statistics say.

    ``columns`` are those of ``sql/index_keys.sql``.
    """
    key_bytes, without_null = 0.0, 1.0
    for column in columns:
        key_bytes = _end_of(column, key_bytes)
        without_null *= 1 - column["null_ratio"]
    entries: list[Entry] = []
    for share, rows_of_key, spread in _groups(columns, rows):
        rate = _truncated_poisson_rate(rows_of_key) if spread and rows_of_key > 1 else 0.0
        for _ in range(round(share * ENTRIES)):
            same = rows_of_key
            if 0 < rate <= MOST_SPREAD_ROWS:
                # Rows fall on keys by chance, and a row is more often met with a frequent key.
                same = 1.0 + _poisson(rate, rng)
            size = index_tuple_bytes(key_bytes, has_null=rng.random() >= without_null)
            entries.append(Entry(size, same))
    rng.shuffle(entries)
    return tuple(entries)


def _groups(columns: Sequence[Mapping[str, Any]], rows: float) -> list[tuple[float, float, bool]]:
    """Return (share of the rows, rows a key, whether by chance) of keys that are alike.

    Of one column, null and the most common values are keys of their own, and the other values share
    the rest. Of several, only the product of their distinct values is known.
    """
    if len(columns) > 1:
        distinct = 1.0
        for column in columns:
            distinct *= _distinct(column, rows) + (1.0 if column["null_ratio"] > 0 else 0.0)
        return [(1.0, max(1.0, rows / distinct), True)]
    column = columns[0]
    common = [float(share) for share in column["common_ratios"] or ()]
    rest = max(0.0, 1 - column["null_ratio"] - sum(common))
    rest_keys = max(1.0, _distinct(column, rows) - len(common))
    return [
        (column["null_ratio"], max(1.0, rows * column["null_ratio"]), False),
        *((share, max(1.0, rows * share), False) for share in common),
        # ANALYZE lists common values only where some are more frequent than the others.
        (rest, max(1.0, rows * rest / rest_keys), bool(common)),
    ]


def _distinct(column: Mapping[str, Any], rows: float) -> float:
    """Return the number of distinct values; negative ones are shares of the rows (pg_stats)."""
    values = float(column["distinct_values"])
    return max(1.0, -values * rows if values < 0 else values)


def _end_of(column: Mapping[str, Any], offset: float) -> float:
    """Add one value to the mean size of a key: fixed-length and long values are aligned."""
    mean = column["mean_bytes"]
    if column["is_expression"] and column["length_bytes"] < 0:
        mean = max(1, mean - EXPRESSION_EXCESS_BYTES)
    aligned = column["length_bytes"] >= 0 or mean > SHORT_VALUE_BYTES
    alignment = column["alignment_bytes"] if aligned else 1
    padded: float = -(-offset // alignment) * alignment
    mean_when_present: float = mean * (1 - column["null_ratio"])
    return padded + mean_when_present


def _truncated_poisson_rate(mean: float) -> float:
    """Solve ``rate / (1 - exp(-rate)) = mean`` for a mean above 1, by bisection."""
    low, high = 0.0, mean
    for _step in range(50):
        rate = (low + high) / 2
        if rate / -math.expm1(-rate) < mean:
            low = rate
        else:
            high = rate
    return (low + high) / 2


def _poisson(rate: float, rng: random.Random) -> int:
    """Draw a Poisson variable of a small rate (Knuth)."""
    limit, product, count = math.exp(-rate), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
