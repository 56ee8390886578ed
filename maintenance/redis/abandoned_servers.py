"""The servers of a removal: each with its connections, the pace that it bears, and what others feel."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from maintenance.conf import RedisTarget
from maintenance.core.job import Job
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.pages import Looks, looking
from maintenance.redis_client.batch_size import BatchSize
from maintenance.redis_client.nodes import Node
from maintenance.redis_client.packed import Exchange, Packer, exchange
from maintenance.redis_client.probe import LatencyProbe, PacedProgress, probing

#: UNLINK frees large keys in another thread; small ones it frees at once. Keys in one batch.
FIRST_BATCH_KEYS = 100
SMALLEST_BATCH_KEYS = 10
LARGEST_BATCH_KEYS = 1000
#: Memory is measured on one in this many of the keys to be removed, and on at least one of a page.
SAMPLE_EVERY = 20

UNLINK = Packer([b"UNLINK"])
EXISTS = Packer([b"EXISTS"])
MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])


@dataclass(slots=True)
class Server:
    """One server with two connections, and the pace that it bears."""

    node: Node
    looks: Looks
    writes: Exchange
    probe: LatencyProbe
    progress: PacedProgress
    batch_size: BatchSize = field(
        default_factory=lambda: BatchSize(
            FIRST_BATCH_KEYS, smallest=SMALLEST_BATCH_KEYS, largest=LARGEST_BATCH_KEYS
        )
    )

    def report(self, walked: int, phase: str) -> None:
        """Report how far a walk over this server's keys has come, and pause where others feel it."""
        total = max(self.node.facts.keys, 1)
        self.progress.update(min(walked, total), total, phase=phase, unit="keys")


@contextmanager
def working_on(node: Node, job: Job[RedisTarget, RemoveStreamsOptions]) -> Iterator[Server]:
    """Open the connections to one server."""
    with (
        looking(node.client) as looks,
        exchange(node.client, job.progress.check) as writes,
        probing(node.client) as probe,
    ):
        pace = PacedProgress(job.progress, probe, job.target.added_latency_ms)
        yield Server(node, looks, writes, probe, pace)
