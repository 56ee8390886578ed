"""Streams kept at their length: sorted sets, lists and Redis streams that only ever grow.

The whole key space of a family is looked at in packed batches, only the offenders are written to,
and each of them is looked at again. Nothing is ever flushed or deleted as a whole.
"""

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job, Progress
from maintenance.core.latency import LatencyChange, with_latency
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known
from maintenance.core.wording import seconds_in_words
from maintenance.redis.pages import Looks, Page, given, looking, page_size, scanned
from maintenance.redis.providers import provided_keys
from maintenance.redis.stream_claims import Claims, claims_of, families_beside
from maintenance.redis.stream_groups import Behind, GroupedTrim, furthest_behind
from maintenance.redis.stream_options import TrimOptions
from maintenance.redis.stream_report import NodeRun, StreamRun, build_report
from maintenance.redis.stream_tally import FamilyTally
from maintenance.redis.trimming import (
    LARGE_KEY_REST_SECONDS,
    Excess,
    Piece,
    TrimRule,
    batch_size,
    batches,
    weight,
)
from maintenance.redis_client.batch_size import clocked
from maintenance.redis_client.connection import explained_errors
from maintenance.redis_client.nodes import Node, nodes
from maintenance.redis_client.packed import Exchange, Packer, exchange
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import server_facts

#: Memory is measured on one offender in this many, and on at least one of a page.
SAMPLE_EVERY = 20

#: Ages are counted by the server's clock. One that is a minute off from ours is wrong, or ours is:
#: no member goes by its age then.
CLOCKS_APART_SECONDS = 60.0

_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_TYPE = Packer([b"TYPE"])


def trim_streams(
    job: Job[RedisTarget, TrimOptions],
    families: Mapping[str, StreamFamily],
    keys: Mapping[str, Sequence[bytes]] | None = None,
    servers: Mapping[str, RedisTarget] | None = None,
) -> Report:
    """Cut every stream of the target's families to its maximum length, at the end that may go.

    Exactly ``max_length`` members remain (MAXLEN semantics), of which none is older than
    ``max_age_seconds``. ``keys`` limits a family to these streams. Of a cluster each primary is
    worked on, one after the other. With ``dry_run`` only the look is made. On a replica nothing is
    written and the report says so.

    Families of other targets are not trimmed: where ``servers``, the targets by name, say that they
    lie on the same keys, what they claim as well is left alone and named.

    Time and traffic grow with the keys that SCAN walks over, and with the entries that are too many in
    streams that have consumer groups, which are read; memory with the streams over length by some bytes
    each. Raises :class:`TargetUnavailable`, :class:`MissingRights`,
    :class:`ConfigurationError` for a key provider that breaks, and :class:`UnknownName` for a
    family or provider that does not exist.
    """
    # Only this target's own families: a rule applied to another server would delete wrongly.
    own = {n: f for n, f in families.items() if f.redis == job.target_name}
    for name in job.options.families:
        require_known(f"stream family on {job.target_name}", name, own)
    chosen = {n: f for n, f in own.items() if not job.options.families or n in job.options.families}
    named = keys or {}
    changes: list[LatencyChange] = []
    stood_still_seconds = 0.0
    with nodes(job.target) as found:
        run = StreamRun(
            job.target_name, job.options.dry_run, [NodeRun(n.name, n.facts) for n in found]
        )
        urls = [node.url for node in found]
        beside = families_beside(job.target_name, families, servers or {}, urls)
        claims = {name: claims_of(name, beside, keys_are_named=name in named) for name in chosen}
        run.tallies = _tallies(chosen, claims, found[0])
        for node, its_run in zip(found, run.nodes, strict=True):
            with explained_errors(node.url), probing(node.client) as probe:
                progress = PacedProgress(job.progress, probe, job.target.added_latency_ms)
                _trim_on(node, replace(job, progress=progress), run.tallies, named)
                its_run.after = server_facts(node.client)
            changes += [probe.change] if probe.change else []
            stood_still_seconds += progress.stood_still_seconds
    return with_latency(
        build_report(run),
        max(changes, key=lambda change: change.added_ms, default=None),
        job.target.added_latency_ms,
        stood_still_seconds=stood_still_seconds,
    )


def _tallies(
    families: Mapping[str, StreamFamily], claims: Mapping[str, Claims], node: Node
) -> list[FamilyTally]:
    """Begin to count each family, by a rule whose ages count back from now."""
    now: float | None = None
    withheld = ""
    if any(family.max_age_seconds is not None for family in families.values()):
        with explained_errors(node.url):
            seconds, microseconds = node.client.time()
        now = seconds + microseconds / 1e6
        apart = abs(now - time.time())
        if apart > CLOCKS_APART_SECONDS:
            now = None
            withheld = (
                f"the clocks of {node.name} and of this machine are {seconds_in_words(apart)} apart"
            )
    return [
        FamilyTally(
            name,
            family,
            TrimRule(family, now),
            claims[name],
            ages_withheld=withheld if family.max_age_seconds is not None else "",
        )
        for name, family in families.items()
    ]


def _trim_on(
    node: Node,
    job: Job[RedisTarget, TrimOptions],
    tallies: Sequence[FamilyTally],
    keys: Mapping[str, Sequence[bytes]],
) -> None:
    if not tallies:
        return
    with looking(node.client) as looks, exchange(node.client, job.progress.check) as writes:
        for tally in tallies:
            _FamilyTrim(tally, job, node, keys.get(tally.name), looks=looks, writes=writes).run()


class _FamilyTrim:
    """One family on one server: look, trim, look again, a page of keys at a time.

    Looks go on connections of their own, some pages ahead: the server works on the next ones while
    this page is judged and trimmed.
    """

    def __init__(
        self,
        tally: FamilyTally,
        job: Job[RedisTarget, TrimOptions],
        node: Node,
        keys: Sequence[bytes] | None,
        *,
        looks: Looks,
        writes: Exchange,
    ) -> None:
        self.tally = tally
        self.rule = tally.rule
        self.node = node
        self.keys = keys
        self.looks = looks
        self.writes = writes
        self.progress: Progress = job.progress
        self.may_write = not job.options.dry_run and not node.facts.is_replica
        self.page_size = page_size(tally.family.keys_per_batch)
        self.batch_size = batch_size()
        self._walked = 0
        self._sampled: set[bytes] = set()

    def run(self) -> None:
        started = time.perf_counter()
        # A batch of writes leaves before the replies to the one before are read, and looks go on
        # meanwhile: neither the server nor we wait for the other.
        for batch, (began, *replies, ended) in self.writes.run_ahead(self._batches()):
            self.batch_size.take(weight(batch.pieces), began, ended)
            batch.hand_over(replies, self.tally)
            self._sampled.difference_update(batch.finished)
            self._report_progress()
            self._trim_old_members(batch.pieces)
        self._name_wrong_types()
        self.tally.longest_batch_seconds = max(
            self.tally.longest_batch_seconds,
            self.page_size.longest_seconds,
            self.batch_size.longest_seconds,
        )
        self.tally.duration_seconds += time.perf_counter() - started

    def _batches(self) -> Iterator[tuple["_Batch", list[bytes]]]:
        for pieces in batches(self._pieces(), self.batch_size):
            if not pieces[-1].last:
                time.sleep(LARGE_KEY_REST_SECONDS)
            batch = _Batch.of(pieces, self._sampled)
            yield batch, batch.commands(self.rule)

    def _pieces(self) -> Iterator[Piece]:
        """Look at page after page, and yield what is to be written to its offenders."""
        for keys, answers in self._pages():
            self._walked += max(self.page_size.units, len(keys))
            self._report_progress()
            over = self.tally.take_look(keys, answers)
            if over and self.rule.heeds_groups:
                over = self._trim_beside_groups(over)
            if not self.may_write:
                continue
            if not self.tally.memory_denied:
                self._sampled.update(list(over)[::SAMPLE_EVERY])
            for key, excess in over.items():
                yield from self.rule.pieces(key, excess, self.batch_size)

    def _trim_beside_groups(self, over: dict[bytes, Excess]) -> dict[bytes, Excess]:
        """Trim the streams that have consumer groups; return the others."""
        with exchange(self.node.client, self.progress.check) as steps:
            grouped = furthest_behind(steps, list(over))
            for key, behind in grouped.items():
                if isinstance(behind, Exception):
                    self.tally.take_write(key, behind)
                else:
                    self._trim_beside(behind, key, over[key], steps)
        return {key: excess for key, excess in over.items() if key not in grouped}

    def _trim_beside(self, behind: Behind, key: bytes, excess: Excess, steps: Exchange) -> None:
        tally, age = self.tally, self.rule.age
        trim = GroupedTrim(
            key,
            behind,
            max_length=self.rule.max_length,
            cutoff=age.cutoff_id if age is not None and excess.expired else None,
            may_write=self.may_write,
        )
        measured = [] if tally.memory_denied or not self.may_write else [key]
        tally.take_memory(measured, steps.run(_MEMORY_USAGE.for_keys(measured)), after=False)
        for reply in trim.steps(steps):
            tally.take_write(key, reply)
            self._report_progress()
        if self.may_write:
            lengths = steps.run([self.rule.length.for_key(key)])
            whole = Piece(key, excess, None, 0, first=True, last=True)
            tally.take_second_look([whole], lengths)
            tally.take_memory(measured, steps.run(_MEMORY_USAGE.for_keys(measured)), after=True)
        if trim.held:
            tally.take_held(key, trim.held, trim.behind)

    def _pages(self) -> Iterator[Page]:
        family = self.tally.family
        look, size = self.rule.look, self.page_size
        if self.keys is None and family.pattern:
            return scanned(self.looks, family.pattern.encode(), look, size)
        named = provided_keys(family.provider) if self.keys is None else self.keys
        return given(self.looks, filter(self.node.owns, named), look, size)

    def _report_progress(self) -> None:
        # SCAN walks the whole database whatever the pattern, so its keys are the total.
        total = max(self.node.facts.keys, self.tally.keys_seen)
        self.progress.update(
            min(self._walked, total), total, phase=f"trimming {self.tally.name}", unit="keys"
        )

    def _trim_old_members(self, pieces: Sequence[Piece]) -> None:
        """Remove by age, in steps of their own, what is too much for one write."""
        age = self.rule.age
        for piece in pieces:
            if age is None or not piece.steps_follow:
                continue
            with exchange(self.node.client, self.progress.check) as steps:
                for reply in age.trim_in_steps(steps, piece.key):
                    self.tally.take_write(piece.key, reply)
                    self._report_progress()
                lengths = steps.run([self.rule.length.for_key(piece.key)])
            self.tally.take_second_look([piece], lengths)

    def _name_wrong_types(self) -> None:
        examples = self.tally.wrong_type_examples
        for key, reply in zip(
            examples, self.writes.run(_TYPE.for_keys(list(examples))), strict=True
        ):
            if isinstance(reply, bytes):
                examples[key] = reply.decode()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Writes that go together, a look at the keys that they finish, and memory of the sampled keys.

    MEMORY USAGE estimates large keys from 5 of their members.
    """

    pieces: list[Piece]
    last_pieces: list[Piece]
    measured_before: list[bytes]
    measured_after: list[bytes]

    @classmethod
    def of(cls, pieces: list[Piece], sampled: Container[bytes]) -> "_Batch":
        last_pieces = [piece for piece in pieces if piece.last]
        return cls(
            pieces,
            last_pieces,
            [piece.key for piece in pieces if piece.first and piece.key in sampled],
            [piece.key for piece in last_pieces if piece.key in sampled],
        )

    @property
    def finished(self) -> list[bytes]:
        return [piece.key for piece in self.last_pieces]

    def commands(self, rule: TrimRule) -> list[bytes]:
        return clocked(
            [
                *_MEMORY_USAGE.for_keys(self.measured_before),
                *map(rule.trim, self.pieces),
                *rule.length.for_keys(self.finished),
                *_MEMORY_USAGE.for_keys(self.measured_after),
            ]
        )

    def hand_over(self, replies: Sequence[Any], tally: FamilyTally) -> None:
        remaining = iter(replies)
        tally.take_memory(
            self.measured_before, list(islice(remaining, len(self.measured_before))), after=False
        )
        tally.take_trim(self.pieces, list(islice(remaining, len(self.pieces))))
        tally.take_second_look(self.last_pieces, list(islice(remaining, len(self.last_pieces))))
        tally.take_memory(self.measured_after, list(remaining), after=True)
