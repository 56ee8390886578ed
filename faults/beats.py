"""Faults of beats: killed and stopped at each of their points."""

import signal
import time

from faults.fire import Fire, Kind
from faults.stack import BEATS

KILLED = "SIGKILL of beat before / after publish"
STOPPED = "two beats; the leader SIGSTOPped, then continued"

#: In the order in which the leader comes to them.
POINTS = ("renewing", "recording", "before_publish", "published", "confirming")


def kill_at(point: str) -> "Kind":
    """Kill the beat that comes to ``point`` there; the other one, or a new one, takes over."""

    def hurt(fire: Fire) -> None:
        node, _hit = fire.at(f"beat.{point}")
        fire.kill(node)

    return Kind(f"beat killed: {point}", KILLED, hurt, times=30)


def kill_both_at(point: str) -> "Kind":
    """Kill both beats there, so that nobody is left to take over until one is started."""

    def hurt(fire: Fire) -> None:
        node, _hit = fire.at(f"beat.{point}")
        for name in BEATS:
            fire.kill(fire.stack.nodes[name])
        del node
        time.sleep(fire.random.uniform(0.0, 3.0))

    return Kind(f"both beats killed: {point}", KILLED, hurt)


def stop_at(point: str) -> "Kind":
    """Stop the leader there for three leases, and let it go on where it stood."""

    def hurt(fire: Fire) -> None:
        node, _hit = fire.at(f"beat.{point}")
        fire.disturb(node)
        fire.stack.signal(node, signal.SIGSTOP)
        fire.stack.release(f"beat.{point}")
        time.sleep(fire.random.uniform(4.0, 6.0))
        fire.stack.signal(node, signal.SIGCONT)

    return Kind(f"leader stopped: {point}", STOPPED, hurt)


def _kill_in_mid_mending(fire: Fire) -> None:
    """Kill a worker at work, and then the beat that takes the run from it."""
    worker, _hit = fire.at("worker.claimed")
    fire.kill(worker)
    fire.stack.start(worker.name)
    beat, _hit = fire.at("beat.mending")
    fire.kill(beat)


KINDS = (
    *(kill_at(point) for point in POINTS),
    *(kill_both_at(point) for point in ("recording", "published")),
    Kind("beat killed: mending", KILLED, _kill_in_mid_mending, times=30),
    *(stop_at(point) for point in ("renewing", "recording", "before_publish", "published")),
)


def _second_beat(fire: Fire) -> None:
    """Run a second beat for some seconds, as a deployment that overlaps the one before does."""
    fire.point = "beat.second"
    fire.stack.start(BEATS[1])
    time.sleep(8.0)
    fire.fault_at = time.time()
    fire.kill(fire.stack.nodes[BEATS[1]])


SECOND_BEAT = Kind("a second beat", "two beats", _second_beat)
