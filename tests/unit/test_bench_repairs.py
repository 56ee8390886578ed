"""The bench of repairs: its arithmetic."""

import pytest

from bench.production_impact import Latencies
from bench.repairs import Pair, _ended_at, _load_rows, _ratio_row


def test_a_ratio_is_the_median_of_the_pairs_not_that_of_the_medians() -> None:
    row = _ratio_row("work", [Pair(1, 10), Pair(9, 10), Pair(4, 5)], limit=0.8)
    assert row["value"] == pytest.approx(0.8)
    assert row["met"]
    assert not _ratio_row("work", [Pair(9, 10)], limit=0.8)["met"]


def test_a_transaction_of_pgbench_s_log_ends_at_its_time() -> None:
    assert _ended_at("3 17 1520 0 1700000000 250000 12") == 1_700_000_000.25


def loads(alone: float, ours: float, vacuumdb: float) -> list[dict[str, Latencies]]:
    found = {"alone": alone, "ours": ours, "vacuumdb": vacuumdb}
    return [{who: Latencies(1.0, p99) for who, p99 in found.items()}]


@pytest.mark.parametrize(
    ("alone", "ours", "vacuumdb", "met"),
    [
        (5.0, 7.0, 15.0, [True, True]),  # 2 ms is more than 20 %
        (20.0, 24.5, 40.0, [False, True]),
        (20.0, 23.0, 24.0, [True, False]),
        (20.0, 21.0, 19.0, [True, False]),  # nothing to be better than
        (20.0, 19.0, 19.0, [True, True]),  # neither is felt
    ],
)
def test_a_rise_is_judged_by_itself_and_beside_the_peer(
    alone: float, ours: float, vacuumdb: float, met: list[bool]
) -> None:
    assert [row["met"] for row in _load_rows(loads(alone, ours, vacuumdb), 100)] == met
