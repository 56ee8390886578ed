"""How much waits in each queue of a site's broker, for how long, and how that changes.

The broker is read and nothing else: no worker of ours ever runs on it, which would answer for one of
the site's that is dead.
"""

from collections.abc import Mapping
from typing import Any

from maintenance.conf import BrokerTarget, is_below
from maintenance.core.job import History, Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.trend import WEEK_SECONDS, outlook_of
from maintenance.queues.diagnosis import diagnose, state, waited_seconds
from maintenance.queues.measurement import BrokerMeasurement, QueueDepth
from maintenance.queues.redis_broker import acl_of, measure_redis

DEPTH_METRIC = "queue_depth_messages"
HELD_METRIC = "unacknowledged_messages"


def check_queue_depths(job: Job[BrokerTarget, NoOptions]) -> Report:
    """Count the messages in each configured queue, and name what nobody takes.

    Raises :class:`TargetUnavailable` and :class:`MissingRights`. Costs a few commands a queue,
    however many messages wait.
    """
    is_amqp = job.target.resolved_url().startswith(("amqp://", "amqps://"))
    measured = _measure_amqp(job.target) if is_amqp else measure_redis(job.target)
    pending = sum(depth.pending for depth in measured.queues)
    held = measured.unacknowledged
    return Report(
        title=f"Queue depths on {job.target_name}",
        summary=_summary(job.target, measured, pending),
        findings=tuple(diagnose(job.target_name, job.target, measured, job.previous_state)),
        tables=(_table(job, measured),),
        facts={
            "server": measured.server.name if measured.server else None,
            "maxmemory_policy": measured.server.maxmemory_policy if measured.server else None,
            "pending_messages": pending,
            "max_pending_messages": job.target.max_pending,
            "unacknowledged_messages": held.count if held else None,
            "oldest_unacknowledged_seconds": held.oldest_seconds if held else None,
            "needs_acl": [] if is_amqp else sorted({*acl_of(job.target), "+ping"}),
        },
        samples=(
            *(
                Sample(DEPTH_METRIC, depth.pending, depth.queue)
                for depth in measured.queues
                if not depth.wrong_type and not depth.missing
            ),
            *((Sample(HELD_METRIC, held.count),) if held else ()),
        ),
        state=state(measured, job.previous_state),
    )


def _measure_amqp(target: BrokerTarget) -> BrokerMeasurement:
    from maintenance.queues.amqp_broker import measure_amqp  # noqa: PLC0415 - few sites need amqp

    return measure_amqp(target)


def _summary(target: BrokerTarget, measured: BrokerMeasurement, pending: int) -> str:
    if pending == 0:
        return f"Nothing waits in any of {len(measured.queues)} queues."
    deep = [
        depth.queue for depth in measured.queues if not is_below(depth.pending, target.max_pending)
    ]
    fullest = max(measured.queues, key=lambda depth: depth.pending)
    verdict = (
        f"{target.max_pending:,} or more in {', '.join(deep)}"
        if deep
        else f"fewer than {target.max_pending:,} in each"
    )
    return (
        f"{pending:,} messages wait in {len(measured.queues)} queues, most in {fullest.queue}"
        f" ({fullest.pending:,}); {verdict}."
    )


def _table(job: Job[BrokerTarget, NoOptions], measured: BrokerMeasurement) -> Table:
    before = job.previous_state.get("pending", {})
    rows = [
        {
            "queue": depth.queue,
            "pending_messages": None if depth.wrong_type or depth.missing else depth.pending,
            "previous_messages": before.get(depth.queue),
            **_history(job.history, depth, measured.measured_at_seconds),
            "waited_at_least_seconds": waited_seconds(depth, measured, job.previous_state),
            "consumers": depth.consumers,
            "max_pending_messages": job.target.max_pending,
            "priorities": ", ".join(f"{p}: {n:,}" for p, n in depth.by_priority.items() if p),
        }
        for depth in measured.queues
    ]
    return Table.of("Queues", rows)


def _history(history: History, depth: QueueDepth, now_epoch_seconds: float) -> Mapping[str, Any]:
    """Return the highest depth of a week, and the growth in one where enough checks support it."""
    highest = history.highest(DEPTH_METRIC, depth.queue, since_seconds=WEEK_SECONDS)
    stored = history.series(DEPTH_METRIC, depth.queue)
    trend = outlook_of(stored, Point(now_epoch_seconds, depth.pending)).trend
    return {
        "highest_of_week_messages": max(depth.pending, highest.value if highest else 0),
        "weekly_growth_messages": None if trend is None else trend.per_second * WEEK_SECONDS,
    }
