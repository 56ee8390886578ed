"""Streams kept at their length: sorted sets, lists and Redis streams that only ever grow.

The whole key space of a family is looked at in packed batches, only the offenders are written to,
and each of them is looked at again. Nothing is ever flushed or deleted as a whole.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job, Progress
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known
from maintenance.redis.stream_report import FamilyTally, StreamRun, build_report
from maintenance.redis.trimming import Piece, TrimRule, batches
from maintenance.redis_client.connection import session
from maintenance.redis_client.packed import Exchange, Packer, exchange, pack
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import ServerFacts, server_facts

#: One batch removes about this many members. Two are with the server at a time, which is one to
#: two milliseconds of its time.
BATCH_MEMBERS = 1000
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
        self._walked = 0

    def run(self) -> FamilyTally:
        started = time.perf_counter()
        self.looks.longest_seconds = self.writes.longest_seconds = 0.0
        for keys, lengths in self._pages():
            self._walked += self.family.keys_per_batch
            self._report_progress()
            over = self.tally.take_look(keys, lengths)
            if over and self.may_write:
                self._trim_page(over)
        self._name_wrong_types()
        self.tally.longest_batch_seconds = max(
            self.looks.longest_seconds, self.writes.longest_seconds
        )
        self.tally.duration_seconds = time.perf_counter() - started
        return self.tally

    def _report_progress(self) -> None:
        # SCAN walks the whole database whatever the pattern, so its keys are the total.
        total = max(self.server.keys, self.tally.keys_seen)
        self.progress.update(
            min(self._walked, total), total, phase=f"trimming {self.name}", unit="keys"
        )

    def _pages(self) -> Iterator[tuple[Sequence[bytes], list[Any]]]:
        """Yield pages of keys with their lengths.

        SCAN goes without TYPE: a key of another type answers the look with WRONGTYPE, so it is
        counted and named at no cost, where TYPE would hide it. Each batch is the SCAN of the next
        page and then the look at this one, so that the next batch can leave before the look is
        read.
        """
        self.looks.send([self._scan(b"0")])
        cursor, following = _scan_reply(self.looks.receive(1)[0])
        self._look(cursor, following)
        while True:
            keys, ends = following, cursor == b"0"
            if not ends:
                cursor, following = _scan_reply(self.looks.receive(1, last=False)[0])
                self._look(cursor, following)
            yield keys, self.looks.receive(len(keys))
            if ends:
                return

    def _look(self, cursor: bytes, keys: Sequence[bytes]) -> None:
        scan = [] if cursor == b"0" else [self._scan(cursor)]
        self.looks.send(scan + self.rule.look.for_keys(keys))

    def _scan(self, cursor: bytes) -> bytes:
        pattern = self.family.pattern.encode()
        count = b"%d" % self.family.keys_per_batch
        return pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", count)

    def _trim_page(self, over: Mapping[bytes, int]) -> None:
        sampled = list(over)[::SAMPLE_EVERY]
        memory_before = self._memory_usage(sampled)
        planned = batches(over, self.rule.max_length, BATCH_MEMBERS)
        for batch, replies in self.writes.run_ahead(map(self._with_second_look, planned)):
            self.tally.take_trim(batch, replies[: len(batch)])
            finished = [piece.key for piece in batch if piece.last]
            self.tally.take_second_look(finished, replies[len(batch) :], over)
            self._report_progress()
        self.tally.take_memory(sampled, memory_before, self._memory_usage(sampled), over)

    def _with_second_look(self, batch: list[Piece]) -> tuple[list[Piece], list[bytes]]:
        """Return the batch with its commands: the writes, then a look at the keys they finish."""
        finished = [piece.key for piece in batch if piece.last]
        return batch, [*map(self.rule.trim, batch), *self.rule.look.for_keys(finished)]

    def _memory_usage(self, keys: Sequence[bytes]) -> list[int | None]:
        """Measure keys by MEMORY USAGE, which estimates large ones from 5 of their members."""
        if self.tally.memory_denied:
            return [None for _ in keys]
        replies = self.writes.run(_MEMORY_USAGE.for_keys(keys))
        self.tally.memory_denied = any(
            isinstance(reply, redis.exceptions.NoPermissionError) for reply in replies
        )
        return [reply if isinstance(reply, int) else None for reply in replies]

    def _name_wrong_types(self) -> None:
        examples = self.tally.wrong_type_examples
        for key, reply in zip(
            examples, self.writes.run(_TYPE.for_keys(list(examples))), strict=True
        ):
            if isinstance(reply, bytes):
                examples[key] = reply.decode()


def _scan_reply(reply: Any) -> tuple[bytes, list[bytes]]:
    if isinstance(reply, Exception):
        raise reply
    cursor, keys = reply
    return cursor, keys
