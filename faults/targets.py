"""Faults of tasks, messages, schedules and targets."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import psycopg2

from faults.clocks import ASLEEP
from faults.fire import Fire, Kind
from faults.stack import BEATS, WORKERS
from faults.waiting import eventually

DOUBLED = "duplicate delivery (visibility timeout < run time)"
POISON = "poison task (dies every time)"
DEFERRED = "lock held / old xmin on the target"
CHANGED = "task renamed or schema migrated in mid-run"
EDITED = "schedule edited within 1 s of its slot"


def _deliver_twice_at(point: str) -> Kind:
    """Send two more messages of a run whose worker stands at ``point``, and let others take them."""

    def hurt(fire: Fire) -> None:
        from celery import current_app

        from maintenance.models import Run

        _node, hit = fire.at(point)
        run = Run.objects.get(id=uuid.UUID(hit["run"]))
        task = current_app.tasks[run.task]
        for _copy in range(2):
            task.apply_async(
                kwargs={"target": run.target, "options": run.options},
                task_id=str(run.id),
                queue=run.queue,
            )
        said = f"Message for run {run.id} does nothing"
        if point != "worker.received":  # nobody holds it yet there: one of the others does the run
            eventually(lambda: fire.log_since("worker").count(said) >= 2, 20, "both were taken")
        else:
            time.sleep(1.0)
        fire.stack.release(point)

    return Kind(f"message doubled: {point}", DOUBLED, hurt, ("I1", "I2", "I3"))


def _poison(fire: Fire) -> None:
    """Start a task that kills every worker that takes it, and bring new workers until it is given up."""
    from maintenance.core.runs.dispatch import start_run
    from maintenance.core.runs.ledger import Origin
    from maintenance.core.runs.registry import task_named
    from maintenance.models import Run

    fire.fault_at = time.time()
    fire.point = "worker.dies"
    run = start_run(task_named("kill_the_worker"), "library", {}, Origin("cli", actor="faults"))

    def is_given_up() -> bool:
        for node in fire.stack.dead_nodes():
            fire.disturb(node)
            fire.stack.start(node.name)
        return Run.objects.get(id=run.id).is_finished

    eventually(is_given_up, 60, "the poison is given up")
    died = fire.stack.ask(
        "target", "SELECT count(DISTINCT execution) FROM marks WHERE run = %s", run.id.hex
    )
    fire.notes["deaths"] = died[0][0]


def _is_dead_lettered(fire: Fire) -> bool:
    """Whether three workers died, not more, and the run says so loudly."""
    from maintenance.models import Run, StoredFinding

    run = Run.objects.filter(task="maintenance.kill_the_worker").latest()
    codes = StoredFinding.objects.filter(run=run, severity="critical").values_list(
        "code", flat=True
    )
    return run.state == "failed" and "dead-lettered" in codes and fire.notes["deaths"] == 3


def _hold_a_lock(fire: Fire) -> None:
    """Hold a lock on the table that is to be vacuumed, longer than a run of it may wait."""
    fire.fault_at = time.time()
    fire.point = "target.locked"
    conn = psycopg2.connect(fire.stack.postgres.url("target"))
    with conn.cursor() as cursor:
        cursor.execute("LOCK TABLE public.heavy IN ACCESS EXCLUSIVE MODE")
        time.sleep(fire.random.uniform(4.0, 6.0))
    conn.rollback()
    conn.close()


def _hold_an_xmin(fire: Fire) -> None:
    """Keep a snapshot open while the table is vacuumed."""
    fire.fault_at = time.time()
    fire.point = "target.old_xmin"
    conn = psycopg2.connect(fire.stack.postgres.url("target"))
    conn.set_session(isolation_level="REPEATABLE READ")
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
        time.sleep(fire.random.uniform(3.0, 4.0))
    conn.rollback()
    conn.close()


def _keep_workers_down(fire: Fire) -> None:
    """Kill all workers, let slots pass, start them: one run each was waiting, no backlog."""
    from maintenance.models import Run

    fire.point = "workers.down"
    for name in WORKERS:
        fire.kill(fire.stack.nodes[name])
    fire.fault_at = time.time()
    down_since = datetime.now(UTC)
    time.sleep(fire.random.uniform(8.0, 10.0))
    waiting = Run.objects.filter(state="queued", scheduled_for__gt=down_since)
    fire.notes["backlog"] = max(
        (
            waiting.filter(schedule=name).count()
            for name in set(waiting.values_list("schedule", flat=True))
        ),
        default=0,
    )


def _rename(fire: Fire) -> None:
    """Leave a queued run of a task that nobody knows any more."""
    from maintenance.models import Run

    fire.fault_at = time.time()
    fire.point = "task.renamed"
    run = Run.objects.create(
        id=uuid.uuid4(),
        task="maintenance.had_another_name",
        target="library",
        options={},
        queue="medium",
        trigger="cli",
        queued_at=datetime.now(UTC),
    )
    eventually(lambda: Run.objects.get(id=run.id).is_finished, 40, "it is given up")


def _renaming_is_told(_fire: Fire) -> bool:
    from maintenance.models import Run, StoredFinding

    run = Run.objects.filter(task="maintenance.had_another_name").latest()
    return StoredFinding.objects.filter(run=run, severity="critical").exists()


def _migrate_at(point: str) -> Kind:
    """Change the table of runs under a lock while a process stands at ``point``."""

    def hurt(fire: Fire) -> None:
        fire.at(point)
        fire.stack.release(point)
        conn = psycopg2.connect(fire.stack.postgres.url("ledger"))
        with conn, conn.cursor() as cursor:
            cursor.execute("ALTER TABLE maintenance_run ADD COLUMN IF NOT EXISTS later integer")
            time.sleep(1.0)
            cursor.execute("ALTER TABLE maintenance_run DROP COLUMN later")
        conn.close()

    return Kind(f"schema migrated: {point}", CHANGED, hurt, ("I1", "I4", "I5"))


def _edit(fire: Fire) -> None:
    """Give a schedule another interval within a second of its slot, and back."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    from maintenance.models import Run

    fire.point = "schedule.edited"
    name = fire.random.choice(["marks on library", "marks on archive", "marks on museum"])
    newest = Run.objects.filter(schedule=name).latest("scheduled_for").scheduled_for
    assert newest is not None
    slot = newest + timedelta(seconds=2) * 2
    offset = fire.random.uniform(-1.0, 1.0)
    time.sleep(max(0.0, slot.timestamp() + offset - time.time()))
    fire.fault_at = time.time()
    for seconds in (3, 2):
        every, _made = IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")
        row = PeriodicTask.objects.get(name=name)
        row.interval = every
        row.save()
        if seconds == 3:
            time.sleep(fire.random.uniform(3.0, 4.0))


def _set_cursors_back(fire: Fire) -> None:
    """Let beats find the table of schedules as it was ten seconds ago, as after a restore of it alone."""
    from django.db.models import F
    from django_celery_beat.models import PeriodicTask

    from maintenance.models import Run

    fire.point = "schedule.set_back"
    names = [f"marks on {target}" for target in ("library", "archive", "museum")]
    for name in BEATS:
        fire.kill(fire.stack.nodes[name])
    before = Run.objects.filter(schedule__in=names).count()
    PeriodicTask.objects.filter(name__in=names).update(
        last_run_at=F("last_run_at") - timedelta(seconds=10)
    )
    fire.fault_at = time.time()
    fire.stack.heal()
    eventually(
        lambda: Run.objects.filter(schedule__in=names).count() >= before + len(names),
        30,
        "slots are settled again",
    )


def _no_backlog(fire: Fire) -> bool:
    return bool(fire.notes["backlog"] <= 1)


def _redeliver(fire: Fire) -> None:
    """Let messages come again while their runs are at work: the visibility timeout is half as long."""
    fire.point = "message.redelivered"
    eventually(lambda: "does nothing" in fire.log_since("worker"), 30, "a message comes again")
    fire.fault_at = time.time()


KINDS = (
    Kind(
        "visibility timeout below the run time",
        DOUBLED,
        _redeliver,
        ("I1", "I2", "I3"),
        needs=("slow marks",),
        variant={"visibility_seconds": 2},
    ),
    *(
        _deliver_twice_at(f"worker.{point}")
        for point in ("received", "claimed", "effect_done", "before_ack")
    ),
    Kind("poison", POISON, _poison, ("I1", "I2", "I3", "I4"), _is_dead_lettered),
    Kind("lock held on the target", DEFERRED, _hold_a_lock, ("I1", "I3", "I4"), needs=("vacuum",)),
    Kind("old xmin on the target", DEFERRED, _hold_an_xmin, ("I1", "I3", "I4"), needs=("vacuum",)),
    Kind("workers down", ASLEEP, _keep_workers_down, ("I1", "I2", "I3", "I4"), _no_backlog),
    Kind("task renamed", CHANGED, _rename, ("I1", "I4"), _renaming_is_told),
    *(_migrate_at(point) for point in ("worker.claimed", "beat.published")),
    Kind("schedule edited", EDITED, _edit, ("I1", "I2", "I3")),
    Kind("schedules restored from before", EDITED, _set_cursors_back, ("I1", "I2", "I3")),
)
