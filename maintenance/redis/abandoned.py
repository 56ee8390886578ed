"""Streams of owners who are gone: counted first, then removed with all that belongs to them.

Nothing is removed because a query returned nothing. Who is gone is asked twice: before the streams
are counted, and again right before they are removed, which takes only those that were counted. An
owner who came in between is in the second answer, because the stream was there before it was asked.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice

from maintenance.conf import RedisTarget, StreamFamily, StreamOwners
from maintenance.core.job import Job
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.abandoned_report import (
    EMPTY_ANSWER,
    REPLICA,
    AbandonedTally,
    build_report,
    refusal,
)
from maintenance.redis.hashed_ids import HashedIds
from maintenance.redis.owners import Answer
from maintenance.redis.pages import page_size, scanned
from maintenance.redis.trimming import TrimRule
from maintenance.redis_client.batch_size import BatchSize, clocked
from maintenance.redis_client.connection import explained_errors
from maintenance.redis_client.nodes import Node, nodes
from maintenance.redis_client.packed import Exchange, Packer, exchange
from maintenance.redis_client.probe import LatencyProbe, PacedProgress, probing

#: Memory is measured on one in this many of the streams to be removed, and on at least one of a page.
SAMPLE_EVERY = 20
#: UNLINK frees large keys in another thread; small ones it frees at once. Keys in one batch.
FIRST_BATCH_KEYS = 100
SMALLEST_BATCH_KEYS = 10
LARGEST_BATCH_KEYS = 1000

_UNLINK = Packer([b"UNLINK"])
_EXISTS = Packer([b"EXISTS"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])

#: Asks who is kept or gone: a query on a database, or a registered function.
AskOwners = Callable[[StreamOwners], Iterable[str]]


def remove_abandoned_streams(
    job: Job[RedisTarget, RemoveStreamsOptions],
    families: Mapping[str, StreamFamily],
    owners: Mapping[str, StreamOwners],
    ask: AskOwners,
) -> Report:
    """Remove the streams of owners who are gone, and their companions. This cannot be undone.

    Refused, with the reason in the report, where the answer about owners who are kept is empty,
    where no stream belongs to any of them, and where more than ``share_limit_ratio`` of a family
    would go. What ``ask`` raises ends the run before anything is removed. Time grows with the keys
    that SCAN walks over, twice; memory with the owners and with the streams to be removed, by some
    bytes each. Raises as :func:`maintenance.redis.streams.trim_streams`.
    """
    own = {n: f for n, f in families.items() if f.redis == job.target_name and f.owners}
    for name in job.options.families:
        require_known(f"stream family with owners on {job.target_name}", name, own)
    chosen = {n: f for n, f in own.items() if not job.options.families or n in job.options.families}
    for family in chosen.values():
        require_known("stream_owners", family.owners, owners)
    tallies = [AbandonedTally(n, f, owners[f.owners]) for n, f in chosen.items()]
    with nodes(job.target) as found, ExitStack() as stack:
        servers = [stack.enter_context(_working_on(node, job)) for node in found]
        if tallies:
            _Removal(servers, job, ask).run(tallies)
    report = build_report(job, tallies, [node.facts for node in found])
    return with_latency(
        report,
        max(
            (server.probe.change for server in servers if server.probe.change),
            key=lambda change: change.added_ms,
            default=None,
        ),
        job.target.added_latency_ms,
        stood_still_seconds=sum(server.progress.stood_still_seconds for server in servers),
    )


@dataclass(slots=True)
class _Server:
    """One server with two connections, and the pace that it bears."""

    node: Node
    looks: Exchange
    writes: Exchange
    probe: LatencyProbe
    progress: PacedProgress
    batch_size: BatchSize = field(
        default_factory=lambda: BatchSize(
            FIRST_BATCH_KEYS, smallest=SMALLEST_BATCH_KEYS, largest=LARGEST_BATCH_KEYS
        )
    )


@contextmanager
def _working_on(node: Node, job: Job[RedisTarget, RemoveStreamsOptions]) -> Iterator[_Server]:
    with (
        exchange(node.client) as looks,
        exchange(node.client, job.progress.check) as writes,
        probing(node.client) as probe,
    ):
        pace = PacedProgress(job.progress, probe, job.target.added_latency_ms)
        yield _Server(node, looks, writes, probe, pace)


class _Removal:
    """One run: count in all families, ask again, remove in all families."""

    def __init__(
        self,
        servers: Sequence[_Server],
        job: Job[RedisTarget, RemoveStreamsOptions],
        ask: AskOwners,
    ) -> None:
        self.servers = servers
        self.ask = ask
        self.exceptions = {identity.encode() for identity in job.options.exceptions}
        self.dry_run = job.options.dry_run
        self.is_replica = any(server.node.facts.is_replica for server in servers)

    def run(self, tallies: Sequence[AbandonedTally]) -> None:
        answers = self._answers(tallies)
        counted = {t.name: HashedIds(self._count(t, answers[t.family.owners])) for t in tallies}
        for tally in tallies:
            tally.refusal = tally.refusal or refusal(tally)
            if self.is_replica and not self.dry_run:
                tally.refusal = REPLICA
        due = [tally for tally in tallies if tally.gone_keys and not tally.refusal]
        if self.dry_run or not due:
            return
        answers = self._answers(due)
        for tally in due:
            if not tally.refusal:
                self._remove(tally, answers[tally.family.owners], counted[tally.name])

    def _answers(self, tallies: Sequence[AbandonedTally]) -> dict[str, Answer]:
        """Ask once for each owners section; an empty answer about who is kept refuses its families."""
        answers: dict[str, Answer] = {}
        for tally in tallies:
            name = tally.family.owners
            if name not in answers:
                answers[name] = Answer.of(self.ask(tally.owners), tally.owners.answers)
            tally.owners_known = len(answers[name])
            if tally.owners.answers == "kept" and not tally.owners_known:
                tally.refusal = EMPTY_ANSWER
        return answers

    def _gone(
        self, tally: AbandonedTally, answer: Answer, server: _Server, phase: str
    ) -> Iterator[dict[bytes, int]]:
        """Yield the streams on one server whose owner is gone, with their lengths, page by page."""
        stay = self.exceptions | {identity.encode() for identity in tally.owners.exceptions}
        pattern = tally.family.pattern.encode()
        size = page_size(tally.family.keys_per_batch)
        look = [TrimRule(tally.family).length]
        walked = 0
        for keys, (lengths,) in scanned(server.looks, pattern, look, size):
            walked += max(size.units, len(keys))
            total = max(server.node.facts.keys, len(keys))
            server.progress.update(
                min(walked, total), total, phase=f"{phase} {tally.name}", unit="keys"
            )
            gone: dict[bytes, int] = {}
            for key, length in zip(keys, lengths, strict=True):
                if not tally.is_stream(length):
                    continue
                owner = tally.form.owner(key)
                if owner and owner not in stay and answer.is_gone(owner):
                    gone[key] = length
            yield gone

    def _count(self, tally: AbandonedTally, answer: Answer) -> Iterator[bytes]:
        """Count what is gone, and yield its keys."""
        if tally.refusal:
            return
        tally.counting = True
        for server in self.servers:
            with explained_errors(server.node.url):
                for gone in self._gone(tally, answer, server, "counting"):
                    for key, length in gone.items():
                        tally.take_gone(key, length)
                    for key in list(gone)[::SAMPLE_EVERY]:
                        self._sample(tally, server, key)
                    yield from gone
        tally.counting = False

    def _sample(self, tally: AbandonedTally, server: _Server, key: bytes) -> None:
        if tally.memory_denied:
            return
        own = [key, *filter(server.node.owns, tally.companions(key))]
        replies = server.writes.run(_MEMORY_USAGE.for_keys(own))
        tally.take_memory(replies)

    def _remove(self, tally: AbandonedTally, answer: Answer, counted: HashedIds) -> None:
        started = time.perf_counter()
        for server in self.servers:
            with explained_errors(server.node.url):
                for gone in self._gone(tally, answer, server, "removing"):
                    # At once: what this page shows must not grow old before it is acted on.
                    due = (key for key in gone if key in counted)
                    while keys := list(islice(due, server.batch_size.units)):
                        self._unlink(tally, server, keys)
        tally.duration_seconds = time.perf_counter() - started

    def _unlink(self, tally: AbandonedTally, server: _Server, keys: list[bytes]) -> None:
        """Remove companions, then their streams: a run that is killed here finds the rest again."""
        companions = [name for key in keys for name in tally.companions(key)]
        for other in self.servers:
            own = [name for name in companions if other.node.owns(name)]
            tally.removed_companions += sum(
                map(tally.removed, other.writes.run(_UNLINK.for_keys(own)))
            )
        began, *replies, ended = server.writes.run(
            clocked([*_UNLINK.for_keys(keys), *_EXISTS.for_keys(keys)])
        )
        server.batch_size.take(len(keys), began, ended)
        tally.removed_keys += sum(map(tally.removed, replies[: len(keys)]))
        tally.came_back_keys += sum(reply == 1 for reply in replies[len(keys) :])
