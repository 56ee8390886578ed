"""The bench of many targets: what one more target costs is the difference, shared out."""

from bench.many_targets import rows_of


def figures(targets: int, of_each: float) -> dict[str, float]:
    return {
        "targets": targets, "schedules": targets * 20, "sync_seconds": 1 + 0.01 * targets,
        "start_seconds": 2 + 0.002 * targets, "tick_ms": 5.0, "connections": 1,
        "memory_bytes": 80e6 + of_each * targets, "probe_seconds": 0.05,
    }  # fmt: skip


def test_what_all_share_is_no_targets_cost() -> None:
    rows = {
        row["name"].partition(",")[0]: row for row in rows_of(figures(10, 1e5), figures(500, 1e5))
    }
    assert rows["memory of beat (PSS)"]["value"] == 100.0
    assert rows["sync_schedules on an empty ledger"]["value"] == 10.0
    assert rows["start of beat until its first tick is done"]["value"] == 2.0
    assert all(row["met"] for row in rows.values())


def test_memory_above_the_limit_is_not_met() -> None:
    rows = rows_of(figures(10, 3e5), figures(500, 3e5))
    assert [row["name"] for row in rows if not row["met"]] == ["memory of beat (PSS), each target"]
