"""Streams kept at their length: sorted sets, lists and Redis streams that only ever grow.

The whole key space of a family is looked at in packed batches, only the offenders are written to,
and each of them is looked at again. Nothing is ever flushed or deleted as a whole.
"""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job, Progress
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known
from maintenance.redis.ages import AgeRule
from maintenance.redis.pages import page_size, scanned
from maintenance.redis.stream_report import StreamRun, build_report
from maintenance.redis.stream_tally import FamilyTally
from maintenance.redis.trimming import Excess, Piece, TrimRule, batch_size, batches, weight
from maintenance.redis_client.batch_size import clocked
from maintenance.redis_client.connection import session
from maintenance.redis_client.packed import Exchange, Packer, exchange
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import ServerFacts, server_facts

#: Memory is measured on one offender in this many, and on at least one of a page.
SAMPLE_EVERY = 20

_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_TYPE = Packer([b"TYPE"])


@dataclass(frozen=True, slots=True)
class TrimOptions:
    """``families`` limits the run to some stream families of the target; empty means all."""

    dry_run: bool = False
    families: tuple[str, ...] = ()


def trim_streams(
    job: Job[RedisTarget, TrimOptions], families: Mapping[str, StreamFamily]
) -> Report:
    """Cut every stream of the target's families to its maximum length, at the end that may go.

    Exactly ``max_length`` members remain (MAXLEN semantics). With ``dry_run`` only the look is
    made. On a replica nothing is written and the report says so. Raises
    :class:`TargetUnavailable`, :class:`MissingRights`, and :class:`UnknownName` for a family that
    is not configured on this target.
    """
    # Only this target's own families: a rule applied to another server would delete wrongly.
    own = {n: f for n, f in families.items() if f.redis == job.target_name}
    for name in job.options.families:
        require_known(f"stream family on {job.target_name}", name, own)
    chosen = {n: f for n, f in own.items() if not job.options.families or n in job.options.families}
    with session(job.target) as client:
        before = server_facts(client)
        run = StreamRun(job.target_name, job.options.dry_run, before)
        with probing(client) as probe:
            progress = PacedProgress(job.progress, probe, job.target.added_latency_ms)
            if chosen:
                with exchange(client) as looks, exchange(client) as writes:
                    for name, family in chosen.items():
                        trim = _FamilyTrim(
                            name,
                            family,
                            replace(job, progress=progress),
                            before,
                            looks=looks,
                            writes=writes,
                        )
                        run.tallies.append(trim.run())
        run.after = server_facts(client)
    return with_latency(
        build_report(run),
        probe.change,
        job.target.added_latency_ms,
        stood_still_seconds=progress.stood_still_seconds,
    )


class _FamilyTrim:
    """One family: look, trim, look again, a page of keys at a time.

    Looks go on a connection of their own, one page ahead: the server works on the next look while
    this page is judged and trimmed.
    """

    def __init__(
        self,
        name: str,
        family: StreamFamily,
        job: Job[RedisTarget, TrimOptions],
        server: ServerFacts,
        *,
        looks: Exchange,
        writes: Exchange,
    ) -> None:
        self.name = name
        self.family = family
        self.rule = TrimRule(family)
        self.looks = looks
        self.writes = writes
        self.server = server
        self.progress: Progress = job.progress
        self.may_write = not job.options.dry_run and not server.is_replica
        self.tally = FamilyTally(name, family, self.rule)
        self.page_size = page_size(family.keys_per_batch)
        self.batch_size = batch_size()
        self._walked = 0

    def run(self) -> FamilyTally:
        started = time.perf_counter()
        self.looks.longest_seconds = self.writes.longest_seconds = 0.0
        pattern = self.family.pattern.encode()
        for keys, answers in scanned(self.looks, pattern, self.rule.look, self.page_size):
            self._walked += self.page_size.units
            self._report_progress()
            over = self.tally.take_look(keys, answers)
            if over and self.may_write:
                self._trim_page(over)
        self._name_wrong_types()
        self.tally.longest_batch_seconds = max(
            self.page_size.longest_seconds, self.batch_size.longest_seconds
        ) or max(self.looks.longest_seconds, self.writes.longest_seconds)
        self.tally.duration_seconds = time.perf_counter() - started
        return self.tally

    def _report_progress(self) -> None:
        # SCAN walks the whole database whatever the pattern, so its keys are the total.
        total = max(self.server.keys, self.tally.keys_seen)
        self.progress.update(
            min(self._walked, total), total, phase=f"trimming {self.name}", unit="keys"
        )

    def _trim_page(self, over: Mapping[bytes, Excess]) -> None:
        sampled = set() if self.tally.memory_denied else set(list(over)[::SAMPLE_EVERY])
        pieces = chain.from_iterable(
            self.rule.pieces(key, excess, self.batch_size) for key, excess in over.items()
        )
        planned = (_Batch.of(part, sampled) for part in batches(pieces, self.batch_size))
        sent = ((batch, batch.commands(self.rule)) for batch in planned)
        for batch, (began, *replies, ended) in self.writes.run_ahead(sent):
            self.batch_size.take(weight(batch.pieces), began, ended)
            batch.hand_over(replies, self.tally, over)
            self._report_progress()
        for key, excess in over.items():
            if self.rule.age is not None and self.rule.takes_steps(excess):
                self._trim_old_members(self.rule.age, key, over)

    def _trim_old_members(self, age: AgeRule, key: bytes, over: Mapping[bytes, Excess]) -> None:
        for reply in age.trim_in_steps(self.writes, key):
            self.tally.take_write(key, reply)
            self._report_progress()
        finished = [key]
        lengths = self.writes.run(self.rule.length.for_keys(finished))
        self.tally.take_second_look(finished, lengths, over)

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
    measured_before: list[bytes]
    finished: list[bytes]
    measured_after: list[bytes]

    @classmethod
    def of(cls, pieces: list[Piece], sampled: Container[bytes]) -> "_Batch":
        finished = [piece.key for piece in pieces if piece.last]
        return cls(
            pieces,
            [piece.key for piece in pieces if piece.first and piece.key in sampled],
            finished,
            [key for key in finished if key in sampled],
        )

    def commands(self, rule: TrimRule) -> list[bytes]:
        return clocked(
            [
                *_MEMORY_USAGE.for_keys(self.measured_before),
                *map(rule.trim, self.pieces),
                *rule.length.for_keys(self.finished),
                *_MEMORY_USAGE.for_keys(self.measured_after),
            ]
        )

    def hand_over(
        self, replies: Sequence[Any], tally: FamilyTally, over: Mapping[bytes, Excess]
    ) -> None:
        remaining = iter(replies)
        tally.take_memory(
            self.measured_before, list(islice(remaining, len(self.measured_before))), after=False
        )
        tally.take_trim(self.pieces, list(islice(remaining, len(self.pieces))))
        tally.take_second_look(self.finished, list(islice(remaining, len(self.finished))), over)
        tally.take_memory(self.measured_after, list(remaining), after=True)
