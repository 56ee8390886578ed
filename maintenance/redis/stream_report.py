"""What a trim of streams has to say: counts as they come in, and the report made of them."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.conf import StreamFamily
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.redis.trimming import LengthDistribution, Piece, TrimRule
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.server import ServerFacts

#: How many keys a report names of each kind; the counts are of all.
NAMED_KEYS = 10


@dataclass(slots=True)
class FamilyTally:
    """Counts of one family. ``keys_seen`` counts the keys that SCAN returned: a key comes twice
    if the server's hash table shrinks meanwhile; offenders and removed members are counted once.
    """

    name: str
    family: StreamFamily
    rule: TrimRule
    keys_seen: int = 0
    wrong_type_keys: int = 0
    wrong_type_examples: dict[bytes, str] = field(default_factory=dict)
    over_length_keys: int = 0
    members_over: int = 0
    members_removed: int = 0
    keys_exact_after: int = 0
    keys_over_after: int = 0
    sampled_keys: int = 0
    sampled_members: int = 0
    sampled_freed_bytes: int = 0
    memory_denied: bool = False
    longest_batch_seconds: float = 0.0
    duration_seconds: float = 0.0
    before: LengthDistribution = field(init=False)
    after: LengthDistribution = field(init=False)
    _longest: list[tuple[int, bytes]] = field(default_factory=list)
    _counted: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Start both distributions."""
        self.before = LengthDistribution(self.family.max_length)
        self.after = LengthDistribution(self.family.max_length)

    def take_look(self, keys: Sequence[bytes], replies: Sequence[Any]) -> dict[bytes, int]:
        """Count one page; return the keys that are over length, with their lengths."""
        limit = self.family.max_length
        if any(type(reply) is not int for reply in replies):
            keys, replies = self._without_errors(keys, replies)
        self.keys_seen += len(keys)
        self.before.add(replies)
        over = {key: length for key, length in zip(keys, replies, strict=True) if length > limit}
        self.after.add(length for length in replies if length <= limit)
        for key, length in over.items():
            self._count_offender(key, length)
        return over

    def _count_offender(self, key: bytes, length: int) -> None:
        identity = hash(key)  # 8 bytes instead of the key: a million offenders must fit in memory
        if identity in self._counted:
            return
        self._counted.add(identity)
        self.over_length_keys += 1
        self.members_over += length - self.family.max_length
        if len(self._longest) < NAMED_KEYS:
            heapq.heappush(self._longest, (length, key))
        elif length > self._longest[0][0]:
            heapq.heapreplace(self._longest, (length, key))

    def _without_errors(
        self, keys: Sequence[bytes], replies: Sequence[Any]
    ) -> tuple[list[bytes], list[int]]:
        kept: list[bytes] = []
        lengths: list[int] = []
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, Exception):
                self._take_error(key, reply)
            else:
                kept.append(key)
                lengths.append(reply)
        return kept, lengths

    def _take_error(self, key: bytes, error: Exception) -> None:
        """Count a key of another type; any other error concerns the whole run."""
        if not (isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")):
            raise error
        self.wrong_type_keys += 1
        if len(self.wrong_type_examples) < NAMED_KEYS:
            self.wrong_type_examples[key] = ""

    def take_trim(self, batch: Sequence[Piece], replies: Sequence[Any]) -> None:
        """Count what the writes say they removed (LTRIM does not say)."""
        for piece, reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                self._take_error(piece.key, reply)
            elif self.family.type != "list":
                self.members_removed += reply

    def take_second_look(
        self, keys: Sequence[bytes], replies: Sequence[Any], before: Mapping[bytes, int]
    ) -> None:
        """Count the lengths after the trim.

        LTRIM answers only OK, so what it removed from a list is the difference of the two looks:
        what another client pushed between them is missing from that number.
        """
        lengths = [reply for reply in replies if isinstance(reply, int)]
        self.after.add(lengths)
        limit = self.family.max_length
        self.keys_exact_after += sum(length == limit for length in lengths)
        self.keys_over_after += sum(length > limit for length in lengths)
        if self.family.type == "list":
            self.members_removed += sum(
                max(0, before[key] - reply)
                for key, reply in zip(keys, replies, strict=True)
                if isinstance(reply, int)
            )

    def take_memory(
        self,
        keys: Sequence[bytes],
        before: Sequence[int | None],
        after: Sequence[int | None],
        lengths: Mapping[bytes, int],
    ) -> None:
        """Add the sampled keys' memory before and after."""
        for key, first, second in zip(keys, before, after, strict=True):
            if first is not None and second is not None:
                self.sampled_keys += 1
                self.sampled_members += lengths[key] - self.family.max_length
                self.sampled_freed_bytes += first - second

    @property
    def freed_bytes(self) -> int | None:
        """Memory freed: what a removed member freed in the sample, times all that were removed."""
        if self.members_removed == 0:
            return 0
        if self.sampled_members == 0:
            return None
        return round(self.sampled_freed_bytes / self.sampled_members * self.members_removed)

    @property
    def longest(self) -> list[tuple[int, bytes]]:
        """The longest keys before the trim, longest first."""
        return sorted(self._longest, reverse=True)


@dataclass(slots=True)
class StreamRun:
    """One run over the families of one target."""

    target_name: str
    dry_run: bool
    server: ServerFacts
    tallies: list[FamilyTally] = field(default_factory=list)
    after: ServerFacts | None = None

    @property
    def refused(self) -> bool:
        """Whether writes were asked for and the server is one that must not be written to."""
        return self.server.is_replica and not self.dry_run

    @property
    def writes(self) -> bool:
        """Whether this run wrote."""
        return not (self.dry_run or self.server.is_replica)


def build_report(run: StreamRun) -> Report:
    """Turn the counts into the report."""
    outcomes = tuple(_outcome(run, tally) for tally in run.tallies if tally.over_length_keys)
    return Report(
        title=f"Streams on {run.target_name}",
        summary=_summary(run),
        findings=tuple(_findings(run)),
        outcomes=outcomes,
        tables=tuple(_tables(run)),
        facts=_facts(run),
        samples=tuple(_samples(run)),
    )


def _summary(run: StreamRun) -> str:
    if not run.tallies:
        return f"Nothing to do: no stream family is configured on {run.target_name}."
    seen = sum(t.keys_seen for t in run.tallies)
    over = sum(t.over_length_keys for t in run.tallies)
    if over == 0:
        return f"Nothing to trim: none of {seen:,} streams is over its length."
    removed = sum(t.members_removed for t in run.tallies)
    if run.writes:
        return f"{removed:,} members removed from {over:,} of {seen:,} streams{_freed_clause(run)}."
    planned = sum(t.members_over for t in run.tallies)
    why = "the server is a replica" if run.refused else "dry run"
    return (
        f"{over:,} of {seen:,} streams are over their length by {planned:,} members;"
        f" nothing was written ({why})."
    )


def _freed_clause(run: StreamRun) -> str:
    freed = [tally.freed_bytes for tally in run.tallies]
    known = [value for value in freed if value is not None]
    if len(known) < len(freed):
        return ""
    return f", about {sum(known) / 1e6:,.1f} MB of memory freed"


def _outcome(run: StreamRun, tally: FamilyTally) -> Outcome:
    action = Action(
        kind="trim",
        subject=tally.name,
        statement=tally.rule.statement,
        reason=f"{tally.over_length_keys:,} keys hold more than {tally.family.max_length:,} members",
        predicted={"keys": tally.over_length_keys, "members": tally.members_over},
        undo="",  # what a trim removed is gone; the application may rebuild a stream
    )
    if run.dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was written.")
    if run.refused:
        return Outcome(action, Verdict.REFUSED, _REPLICA_REASON)
    return Outcome(
        action,
        Verdict.FAILED if tally.keys_over_after and not tally.members_removed else Verdict.WORKED,
        _outcome_sentence(tally),
        before={"keys_over_length": tally.over_length_keys, "members_over": tally.members_over},
        after={
            "keys_over_length": tally.keys_over_after,
            "keys_at_length": tally.keys_exact_after,
            "members_removed": tally.members_removed,
            "freed_bytes": tally.freed_bytes,
        },
        duration_seconds=tally.duration_seconds,
    )


def _outcome_sentence(tally: FamilyTally) -> str:
    text = (
        f"{tally.members_removed:,} members removed;"
        f" {tally.keys_exact_after:,} of {tally.over_length_keys:,} streams hold exactly"
        f" {tally.family.max_length:,} now"
    )
    if tally.keys_over_after:
        text += f", {tally.keys_over_after:,} grew again before the second look"
    return text + "."


_REPLICA_REASON = (
    "This server is a replica: a write here would be refused, or lost at the next"
    " synchronisation. Point the target at its primary."
)


def _findings(run: StreamRun) -> Iterator[Finding]:
    if run.refused:
        yield Finding(
            code="stream-target-is-replica",
            severity=Severity.WARNING,
            subject=run.target_name,
            sentence=f"Nothing is trimmed on {run.target_name}: the server is a replica.",
            advice="Point the target at the primary, which passes the trim on to its replicas.",
        )
    if run.server.cluster_enabled and run.tallies:
        yield Finding(
            code="stream-target-is-cluster-node",
            severity=Severity.INFO,
            subject=run.target_name,
            sentence=f"{run.target_name} is one node of a cluster: only its own keys were seen.",
            advice="Configure each primary of the cluster as a target of its own.",
        )
    for tally in run.tallies:
        yield from _family_findings(run, tally)


def _family_findings(run: StreamRun, tally: FamilyTally) -> Iterator[Finding]:
    limit = tally.family.max_length
    if tally.over_length_keys:
        length, key = tally.longest[0]
        then = (
            f"{tally.members_removed:,} members were removed"
            if run.writes
            else f"{tally.members_over:,} members would be removed"
        )
        yield Finding(
            code="streams-over-length",
            severity=Severity.INFO if run.writes else Severity.WARNING,
            subject=tally.name,
            sentence=(
                f"{tally.over_length_keys:,} of {tally.keys_seen:,} {tally.name} streams held more"
                f" than {limit:,} members, the longest {describe_key(key)} {length:,}; {then}."
            ),
            evidence={
                "keys_seen": tally.keys_seen,
                "keys_over_length": tally.over_length_keys,
                "members_over": tally.members_over,
                "members_removed": tally.members_removed,
                "longest_key": describe_key(key),
                "longest_members": length,
            },
            advice="" if run.writes else "Run this without dry run on the primary to trim them.",
        )
    if tally.wrong_type_keys:
        yield _wrong_type(tally)
    if tally.keys_seen == 0:
        yield Finding(
            code="stream-family-empty",
            severity=Severity.INFO,
            subject=tally.name,
            sentence=f'No {tally.family.type} key matches the pattern "{tally.family.pattern}".',
            advice="Check the pattern, the database number in the URL and the key prefix.",
        )
    if run.writes and tally.members_removed and tally.freed_bytes is None:
        needs = "the ACL right +memory|usage" if tally.memory_denied else "keys that stay in place"
        yield unavailable("stream-memory-freed", tally.name, "the memory freed", needs)


def _wrong_type(tally: FamilyTally) -> Finding:
    examples = {describe_key(key): kind for key, kind in tally.wrong_type_examples.items()}
    named = ", ".join(f"{key} ({kind})" if kind else key for key, kind in examples.items())
    return Finding(
        code="stream-wrong-type",
        severity=Severity.WARNING,
        subject=tally.name,
        sentence=(
            f"{tally.wrong_type_keys:,} keys match the pattern of {tally.name} but are no"
            f" {tally.family.type}; they were left alone: {named}."
        ),
        evidence={"keys": tally.wrong_type_keys, "examples": examples},
        advice=f'Narrow the pattern "{tally.family.pattern}" or correct the type of this family.',
    )


def _tables(run: StreamRun) -> Iterator[Table]:
    if run.tallies:
        yield Table.of("Stream families", [_family_row(tally) for tally in run.tallies])
    for tally in run.tallies:
        if tally.keys_seen:
            # A dry run has no "after": the offenders are as long as before.
            after = tally.after if run.writes else tally.before
            rows = tally.before.rows(after)
            yield Table.of(f"Lengths of {tally.name}", rows)
        if tally.over_length_keys:
            longest = [
                {"key": describe_key(key), "members": length} for length, key in tally.longest
            ]
            yield Table.of(f"Longest {tally.name} before the trim", longest)


def _family_row(tally: FamilyTally) -> dict[str, Any]:
    return {
        "family": tally.name,
        "pattern": tally.family.pattern,
        "type": tally.family.type,
        "max_members": tally.family.max_length,
        "kept_end": tally.rule.kept_end,
        "keys_seen": tally.keys_seen,
        "keys_wrong_type": tally.wrong_type_keys,
        "keys_over_length": tally.over_length_keys,
        "members_over": tally.members_over,
        "members_removed": tally.members_removed,
        "freed_bytes": tally.freed_bytes,
        "longest_batch_seconds": tally.longest_batch_seconds,
        "duration_seconds": tally.duration_seconds,
    }


def _facts(run: StreamRun) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "server": run.server.name,
        "role": run.server.role,
        "dry_run": run.dry_run,
        "used_memory_before_bytes": run.server.used_memory_bytes,
        "needs_acl": sorted(
            {"+ping", "+info", "+type", "+memory|usage"}.union(
                *(tally.rule.needs_acl for tally in run.tallies)
            )
        ),
        "freed_bytes_from": "MEMORY USAGE of a sample of the trimmed keys, before and after",
        "sampled_keys": sum(tally.sampled_keys for tally in run.tallies),
        "longest_batch_seconds": max(
            (tally.longest_batch_seconds for tally in run.tallies), default=0.0
        ),
    }
    if run.after is not None:
        facts["used_memory_after_bytes"] = run.after.used_memory_bytes
    return facts


def _samples(run: StreamRun) -> Iterator[Sample]:
    for tally in run.tallies:
        yield Sample("streams_over_length_keys", tally.over_length_keys, tally.name)
        yield Sample("streams_removed_members", tally.members_removed, tally.name)
    if run.after is not None:
        yield Sample("redis_used_memory_bytes", run.after.used_memory_bytes)
