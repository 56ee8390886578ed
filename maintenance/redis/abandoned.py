"""Streams of owners who are gone: counted first, then removed with all that belongs to them.

Nothing is removed because a query returned nothing. Who is gone is asked twice: before the streams
are counted, and again right before they are removed, which takes only those that were counted. An
owner who came in between is in the second answer, because the stream was there before it was asked.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice

from maintenance.conf import RedisTarget, StreamFamily, StreamOwners
from maintenance.core.job import Job
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report, Sample
from maintenance.core.suggestions import require_known
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from maintenance.redis.abandoned_report import build_report
from maintenance.redis.abandoned_servers import (
    EXISTS,
    MEMORY_USAGE,
    SAMPLE_EVERY,
    UNLINK,
    Server,
    working_on,
)
from maintenance.redis.abandoned_tally import (
    EMPTY_ANSWER,
    REPLICA,
    AbandonedTally,
    companions_refusal,
    refusal,
)
from maintenance.redis.companions import LeftCompanions, keys_of_others
from maintenance.redis.hashed_ids import HashedIds
from maintenance.redis.owners import Answer, Departures
from maintenance.redis.pages import page_size, scanned
from maintenance.redis.reclaim.pace import Pace
from maintenance.redis.stream_claims import claims_of, families_beside
from maintenance.redis.trimming import TrimRule
from maintenance.redis_client.batch_size import clocked
from maintenance.redis_client.connection import explained_errors
from maintenance.redis_client.nodes import Node, nodes
from maintenance.redis_client.own_walks import walk_samples
from maintenance.redis_client.server import server_facts

#: Asks who is kept or gone: a query on a database, or a registered function.
AskOwners = Callable[[StreamOwners], Iterable[str]]


def remove_abandoned_streams(
    job: Job[RedisTarget, RemoveStreamsOptions],
    families: Mapping[str, StreamFamily],
    owners: Mapping[str, StreamOwners],
    ask: AskOwners,
    servers: Mapping[str, RedisTarget] | None = None,
) -> Report:
    """Remove the streams of owners who are gone, and their companions. This cannot be undone.

    Companion keys go as well whose stream is not there any more. Refused, with the reason in the
    report, where the answer about owners who are kept is empty, where no stream belongs to any of
    them, and where more than ``share_limit_ratio`` of a family's streams, or of its companion keys
    without a stream, would go. What other families have as well is left alone; ``servers`` are the
    targets that they live on. What ``ask`` raises ends the run before anything is removed.

    Time grows with the keys that SCAN walks over, twice, and twice more for each companion; memory
    with the owners and with the keys to be removed, by some bytes each. Raises as
    :func:`maintenance.redis.streams.trim_streams`.
    """
    own = {n: f for n, f in families.items() if f.redis == job.target_name and f.owners}
    for name in job.options.families:
        require_known(f"stream family with owners on {job.target_name}", name, own)
    chosen = {n: f for n, f in own.items() if not job.options.families or n in job.options.families}
    for family in chosen.values():
        require_known("stream_owners", family.owners, owners)
    tallies = [AbandonedTally(n, f, owners[f.owners]) for n, f in chosen.items()]
    with nodes(job.target) as found, ExitStack() as stack:
        working = [stack.enter_context(working_on(node, job)) for node in found]
        if tallies:
            urls = [node.url for node in found]
            beside = families_beside(job.target_name, families, servers or {}, urls)
            _Removal(working, job, ask, beside).run(tallies)
        walks = [_walk_of(node) for node in found]
    report = build_report(job, tallies, [node.facts for node in found])
    report = replace(report, samples=(*report.samples, *chain.from_iterable(walks)))
    return with_latency(
        report,
        max(
            (server.probe.change for server in working if server.probe.change),
            key=lambda change: change.added_ms,
            default=None,
        ),
        job.target.added_latency_ms,
        stood_still_seconds=sum(server.progress.stood_still_seconds for server in working),
    )


def _walk_of(node: Node) -> tuple[Sample, ...]:
    with explained_errors(node.url):
        return tuple(walk_samples(node.facts, server_facts(node.client)))


class _Removal:
    """One run: count in all families, ask again, remove in all families."""

    def __init__(
        self,
        servers: Sequence[Server],
        job: Job[RedisTarget, RemoveStreamsOptions],
        ask: AskOwners,
        beside: Mapping[str, StreamFamily],
    ) -> None:
        self.servers = servers
        self.job = job
        self.ask = ask
        self.beside = beside
        self.exceptions = {identity.encode() for identity in job.options.exceptions}
        self.dry_run = job.options.dry_run
        self.is_replica = any(server.node.facts.is_replica for server in servers)

    def run(self, tallies: Sequence[AbandonedTally]) -> None:
        departures = self._departures(tallies)
        counted: dict[str, HashedIds] = {}
        left: dict[str, LeftCompanions] = {}
        for tally in tallies:
            counted[tally.name] = HashedIds(self._count(tally, departures[tally.name]))
            tally.refusal = tally.refusal or refusal(tally)
            if tally.family.companions and not tally.refusal:
                is_of_others = keys_of_others(tally.name, self.beside)
                companions = LeftCompanions(tally, self.servers, counted[tally.name], is_of_others)
                companions.count(departures[tally.name])
                tally.companions_left.refusal = companions_refusal(tally)
                left[tally.name] = companions
            if self.is_replica and not self.dry_run:
                tally.refusal = tally.companions_left.refusal = REPLICA
        due = [tally for tally in tallies if tally.may_lose_keys]
        if self.dry_run or not due:
            return
        departures = self._departures(due)
        pace = Pace(self.job.target.reclaim.keys_per_second, self.job.progress.check)
        for tally in due:
            if tally.refusal:
                continue
            self._remove(tally, departures[tally.name], counted[tally.name], pace)
            if tally.companions_left.gone_keys and not tally.companions_left.refusal:
                left[tally.name].remove(departures[tally.name], pace)

    def _departures(self, tallies: Sequence[AbandonedTally]) -> dict[str, Departures]:
        """Ask once for each owners section; an empty answer about who is kept refuses its families."""
        answers: dict[str, Answer] = {}
        departures: dict[str, Departures] = {}
        for tally in tallies:
            name = tally.family.owners
            if name not in answers:
                answers[name] = Answer.of(self.ask(tally.owners), tally.owners.answers)
            tally.owners_known = len(answers[name])
            if tally.owners.answers == "kept" and not tally.owners_known:
                tally.refusal = EMPTY_ANSWER
            stay = self.exceptions | {identity.encode() for identity in tally.owners.exceptions}
            departures[tally.name] = Departures(answers[name], frozenset(stay))
        return departures

    def _gone(
        self, tally: AbandonedTally, departures: Departures, server: Server, phase: str
    ) -> Iterator[dict[bytes, int]]:
        """Yield the streams on one server whose owner is gone, with their lengths, page by page."""
        claims = claims_of(tally.name, self.beside)
        size = page_size(tally.family.keys_per_batch)
        look = [TrimRule(tally.family).length]
        walked = 0
        for keys, (lengths,) in scanned(server.looks, tally.family.pattern.encode(), look, size):
            walked += max(size.units, len(keys))
            server.report(walked, f"{phase} {tally.name}")
            gone: dict[bytes, int] = {}
            for key, length in zip(keys, lengths, strict=True):
                if not tally.is_stream(length) or not departures.include(tally.form.owner(key)):
                    continue
                claimant = claims.claimant(key)
                if claimant is None:
                    gone[key] = length
                elif tally.counting:
                    tally.take_claimed(key, claimant)
            yield gone

    def _count(self, tally: AbandonedTally, departures: Departures) -> Iterator[bytes]:
        """Count what is gone, and yield its keys."""
        if tally.refusal:
            return
        tally.counting = True
        for server in self.servers:
            with explained_errors(server.node.url):
                for gone in self._gone(tally, departures, server, "counting"):
                    for key, length in gone.items():
                        tally.take_gone(key, length)
                    for key in list(gone)[::SAMPLE_EVERY]:
                        self._sample(tally, server, key)
                    yield from gone
        tally.counting = False

    def _sample(self, tally: AbandonedTally, server: Server, key: bytes) -> None:
        if tally.memory_denied:
            return
        own = [key, *filter(server.node.owns, tally.companions(key))]
        replies = server.writes.run(MEMORY_USAGE.for_keys(own))
        tally.take_memory(replies)

    def _remove(
        self, tally: AbandonedTally, departures: Departures, counted: HashedIds, pace: Pace
    ) -> None:
        started = time.perf_counter()
        # Companions are written to as well.
        most = max(1, pace.most_at_once // (1 + len(tally.family.companions)))
        for server in self.servers:
            with explained_errors(server.node.url):
                for gone in self._gone(tally, departures, server, "removing"):
                    # At once: what this page shows must not grow old before it is acted on.
                    due = (key for key in gone if key in counted)
                    while keys := list(islice(due, min(server.batch_size.units, most))):
                        pace.wrote(self._unlink(tally, server, keys))
        tally.duration_seconds = time.perf_counter() - started

    def _unlink(self, tally: AbandonedTally, server: Server, keys: list[bytes]) -> int:
        """Remove companions, then their streams; return how many there were.

        A run that is killed in between finds the rest again.
        """
        companions = [name for key in keys for name in tally.companions(key)]
        removed = 0
        for other in self.servers:
            own = [name for name in companions if other.node.owns(name)]
            removed += sum(map(tally.removed, other.writes.run(UNLINK.for_keys(own))))
        tally.removed_companions += removed
        began, *replies, ended = server.writes.run(
            clocked([*UNLINK.for_keys(keys), *EXISTS.for_keys(keys)])
        )
        server.batch_size.take(len(keys), began, ended)
        streams = sum(map(tally.removed, replies[: len(keys)]))
        tally.removed_keys += streams
        tally.came_back_keys += sum(reply == 1 for reply in replies[len(keys) :])
        return removed + streams
