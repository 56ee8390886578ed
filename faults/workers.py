"""Faults of workers: killed, stopped and cut off at each of their points."""

import os
import signal
import time

import redis

from faults.fire import Fire, Kind
from faults.proxy import Line
from faults.waiting import eventually

KILLED = "worker SIGKILL or OOM in mid VACUUM, in mid trim, and at every other point"
CUT = "worker cut from broker / from database"

#: Enough for several batches of a trim: see the settings of the site.
STREAMS = 400
MEMBERS_KEPT = 10

POINTS = (
    "received",
    "claiming",
    "claimed",
    "heartbeat",
    "past_the_fence",
    "effect_done",
    "step_recorded",
    "report_half_written",
    "before_ack",
)


def kill_at(point: str) -> Kind:
    """Kill the whole worker that comes to ``point`` there."""

    def hurt(fire: Fire) -> None:
        node, _hit = fire.at(f"worker.{point}")
        fire.kill(node)

    return Kind(f"worker killed: {point}", KILLED, hurt, times=30)


def kill_child_at(point: str) -> Kind:
    """Kill only the pool process there, as the kernel does when memory runs out."""

    def hurt(fire: Fire) -> None:
        node, hit = fire.at(f"worker.{point}")
        fire.disturb(node)
        os.kill(hit["pid"], signal.SIGKILL)

    return Kind(f"pool process killed: {point}", KILLED, hurt)


def _kill_in_mid_statement(fire: Fire) -> None:
    node, _hit = fire.at("worker.mid_sql")
    fire.stack.release("worker.mid_sql")
    _until_active(fire, "INSERT INTO public.marks%pg_sleep%")
    fire.fault_at = time.time()
    fire.kill(node)


def _kill_in_mid_vacuum(fire: Fire) -> None:
    fire.point = "worker.mid_vacuum"
    fire.stack.ask("target", "UPDATE slowly SET seconds = 0.1")
    try:
        _until_active(fire, "VACUUM%heavy%")
        fire.fault_at = time.time()
        run = fire.stack.ask(
            "target",
            "SELECT node FROM marks WHERE task = 'vacuum_under_fire' ORDER BY id DESC LIMIT 1",
        )
        fire.kill(fire.stack.node_of(run[0][0]))
    finally:
        fire.stack.ask("target", "UPDATE slowly SET seconds = 0")


def _until_active(fire: Fire, pattern: str) -> None:
    statement = (
        "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
        " AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()"
    )
    eventually(lambda: fire.stack.ask("target", statement, pattern), 30, f"{pattern} is at work")


def stop_at(point: str) -> Kind:
    """Stop a worker there until another has its run, and let it go on where it stood."""

    def hurt(fire: Fire) -> None:
        node, _hit = fire.at(f"worker.{point}")
        fire.disturb(node)
        fire.stack.signal(node, signal.SIGSTOP)
        fire.stack.release(f"worker.{point}")
        time.sleep(fire.random.uniform(5.0, 7.0))
        fire.stack.signal(node, signal.SIGCONT)

    return Kind(f"worker stopped: {point}", CUT, hurt)


def cut_at(point: str, server: str, line: Line) -> Kind:
    """Cut a worker there from the ledger or the broker for two leases."""

    def hurt(fire: Fire) -> None:
        node, _hit = fire.at(f"worker.{point}")
        fire.disturb(node)
        proxy = node.ledger if server == "database" else node.broker
        proxy.set(line)
        fire.stack.release(f"worker.{point}")
        time.sleep(fire.random.uniform(5.0, 7.0))
        proxy.set(Line.OPEN)

    return Kind(f"worker {line.value} from {server}: {point}", CUT, hurt)


def _kill_in_mid_trim(fire: Fire) -> None:
    """Kill the worker between two batches; the run goes on until every stream is cut."""
    with redis.Redis.from_url(fire.stack.valkey.url(1)) as client:
        with client.pipeline(transaction=False) as pipeline:
            for number in range(STREAMS):
                pipeline.zadd(f"home:{number}", {str(n): n for n in range(MEMBERS_KEPT + 5)})
            pipeline.execute()
        node, _hit = fire.at("worker.mid_trim")
        fire.kill(node)
        fire.stack.heal()
        eventually(lambda: not _too_long(client), 60, "every stream is cut")


def _too_long(client: redis.Redis) -> int:
    with client.pipeline(transaction=False) as pipeline:
        for number in range(STREAMS):
            pipeline.zcard(f"home:{number}")
        return sum(length > MEMBERS_KEPT for length in pipeline.execute())


KINDS = (
    *(kill_at(point) for point in POINTS),
    *(kill_child_at(point) for point in ("claimed", "effect_done", "report_half_written")),
    Kind("worker killed: mid_sql", KILLED, _kill_in_mid_statement, times=30),
    Kind("worker killed: mid_trim", KILLED, _kill_in_mid_trim, needs=("trim",), times=30),
    Kind("worker killed: mid_vacuum", KILLED, _kill_in_mid_vacuum, needs=("vacuum",), times=30),
    *(stop_at(point) for point in ("claimed", "past_the_fence", "report_half_written")),
    *(
        cut_at("claimed", server, line)
        for server in ("database", "broker")
        for line in (Line.CUT, Line.SILENT)
    ),
)
