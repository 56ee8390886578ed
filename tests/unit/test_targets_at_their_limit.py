"""The guide's targets are strict ("< 1000", "> 95%"): what is at the very limit misses them, wherever it is judged."""

import pytest

from maintenance.audit.targets import METRICS, Course, target_rows
from maintenance.caching.ratios import HitWindow
from maintenance.caching.ratios import diagnose as diagnose_cache
from maintenance.conf import Thresholds, is_above, is_below, parse_configuration
from maintenance.core.findings import Finding
from maintenance.core.job import Point
from maintenance.core.runs.registry import TargetKind
from maintenance.key_metrics.metrics import Stretch, reading, series_of
from maintenance.postgres.activity.connections import ConnectionCounts, diagnose_connections
from maintenance.postgres.capacity.cache_hit_ratio import BufferReads
from maintenance.postgres.capacity.cache_hit_ratio import diagnose as diagnose_database
from maintenance.queues.diagnosis import diagnose as diagnose_queues
from maintenance.queues.measurement import BrokerMeasurement, QueueDepth

THRESHOLDS = Thresholds()
CONFIGURATION = parse_configuration(
    {
        "databases": {"it": {"url": "postgres://h/d"}},
        "redis": {"it": {"url": "redis://h/0"}},
        "brokers": {"it": {"url": "redis://h/1", "queues": ["q"]}},
    }
)


def of_queue(value: float) -> list[Finding]:
    depth = QueueDepth("q", int(value), {0: int(value)})
    return list(
        diagnose_queues("it", CONFIGURATION.brokers["it"], BrokerMeasurement((depth,), 0), {})
    )


def of_connections(value: float) -> list[Finding]:
    counts = ConnectionCounts(
        used=int(value),
        here=0,
        active=int(value),
        active_here=0,
        idle_in_transaction=0,
        available=997,
        max_connections=1000,
        is_complete=True,
    )
    return list(diagnose_connections(counts, THRESHOLDS))


def of_cache(value: float) -> list[Finding]:
    hits = round(10_000 * value)
    window = HitWindow(hits, 10_000 - hits, 3600, since_start=False)
    return list(diagnose_cache("it", "cache", window, THRESHOLDS))


def of_database(value: float) -> list[Finding]:
    hits = round(10_000 * value)
    reads = BufferReads(hits, 10_000 - hits, "an hour", 3600)
    return list(diagnose_database(reads, THRESHOLDS, 1024))


@pytest.mark.parametrize(
    ("metric", "kind", "judge", "at_limit", "within"),
    [
        ("queue_depth_messages", TargetKind.BROKER, of_queue, 1000, 999),
        ("active_connections_count", TargetKind.DATABASE, of_connections, 100, 99),
        ("database_cache_hit_ratio", TargetKind.DATABASE, of_database, 0.95, 0.9501),
        ("cache_hit_ratio", TargetKind.REDIS, of_cache, 0.80, 0.8001),
    ],
)
def test_check_tile_and_audit_say_the_same(metric, kind, judge, at_limit, within):
    (audited,) = [each for each in METRICS if each.metric == metric]
    (tile,) = [s for s in series_of("it", kind, CONFIGURATION) if s.key_metric.metric == metric]

    for value, is_met in ((at_limit, False), (within, True)):
        course = Course(audited, "it", "", (Point(0, value),))
        (row,) = target_rows([course], CONFIGURATION)
        assert (judge(value) == []) is is_met
        assert (reading(tile, [Stretch(0, value, value, value)]).kind == "ok") is is_met
        assert (row["verdict"] == "met") is is_met


def test_nothing_and_the_whole_meet_any_target():
    assert is_below(0, 0)
    assert is_above(1.0, 1.0)
