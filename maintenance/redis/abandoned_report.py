"""What there is to say of streams whose owners are gone: counts as they come in, and the report."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis

from maintenance.conf import StreamFamily, StreamOwners
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.redis.owners import OwnerKeys
from maintenance.redis.stream_report import left_alone, moved
from maintenance.redis.trimming import LENGTH_COMMANDS
from maintenance.redis_client import batch_size
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.nodes import CLUSTER_NEEDS_ACL
from maintenance.redis_client.server import ServerFacts

#: How many streams a report names of each family.
NAMED_KEYS = 10

NO_WAY_BACK = "Removing a stream cannot be undone: only the application can fill it again."

_WHAT_NEXT = (
    "Look at the keys, name exceptions, then run remove_abandoned_streams without dry run; it takes"
    f' allow = ["remove_streams"] of the target. {NO_WAY_BACK}'
)

EMPTY_ANSWER = (
    "nobody is kept by the answer, which is empty: an empty answer is a broken query, not a site"
    " without users"
)
REPLICA = "the server is a replica"


@dataclass(slots=True)
class AbandonedTally:
    """Counts of one family.

    ``refusal`` says why nothing is removed, and is empty where nothing speaks against it.
    ``keys_seen`` and ``gone_keys`` count the keys that SCAN returned while ``counting``: a key comes
    twice if the server's hash table shrinks meanwhile.
    """

    name: str
    family: StreamFamily
    owners: StreamOwners
    owners_known: int = 0
    keys_seen: int = 0
    wrong_type_keys: int = 0
    moved_keys: int = 0
    gone_keys: int = 0
    gone_members: int = 0
    sampled_streams: int = 0
    sampled_bytes: int = 0
    memory_denied: bool = False
    refusal: str = ""
    removed_keys: int = 0
    removed_companions: int = 0
    came_back_keys: int = 0
    duration_seconds: float = 0.0
    counting: bool = False
    form: OwnerKeys = field(init=False)
    _longest: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Learn where the owner stands in a key."""
        self.form = OwnerKeys.of(self.family)

    def is_stream(self, length: Any) -> bool:
        """Whether a look found a stream of this family; counts it, or what it is instead."""
        if isinstance(length, Exception):
            self._take_error(length)
            return False
        if self.counting and length:
            self.keys_seen += 1
        return bool(length)

    def _take_error(self, error: Exception) -> None:
        if isinstance(error, redis.exceptions.AskError | redis.exceptions.TryAgainError):
            self.moved_keys += 1
        elif isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE"):
            self.wrong_type_keys += self.counting
        else:
            raise error

    def take_gone(self, key: bytes, length: int) -> None:
        """Count a stream whose owner is gone."""
        self.gone_keys += 1
        self.gone_members += length
        if len(self._longest) < NAMED_KEYS:
            heapq.heappush(self._longest, (length, key))
        elif length > self._longest[0][0]:
            heapq.heapreplace(self._longest, (length, key))

    def take_memory(self, replies: Sequence[Any]) -> None:
        """Add what one stream and its companions hold."""
        if any(isinstance(reply, redis.exceptions.NoPermissionError) for reply in replies):
            self.memory_denied = True
            return
        self.sampled_streams += 1
        self.sampled_bytes += sum(reply for reply in replies if isinstance(reply, int))

    def removed(self, reply: Any) -> int:
        """Return how many keys one UNLINK removed: 1, or 0 where there was none."""
        if isinstance(reply, Exception):
            self._take_error(reply)
            return 0
        return int(reply)

    def companions(self, key: bytes) -> list[bytes]:
        """Return the keys that belong to a stream."""
        return [template.encode().replace(b"{key}", key) for template in self.family.companions]

    @property
    def share(self) -> float:
        """Which part of the family's streams has lost its owner, 0 to 1."""
        return self.gone_keys / self.keys_seen if self.keys_seen else 0.0

    @property
    def held_bytes(self) -> int | None:
        """Memory of all streams without owner, by that of the sample; ``None`` without one."""
        if not self.gone_keys:
            return 0
        if not self.sampled_streams:
            return None
        return round(self.sampled_bytes / self.sampled_streams * self.gone_keys)

    @property
    def longest(self) -> list[tuple[int, bytes]]:
        """The longest of these streams, longest first."""
        return sorted(self._longest, reverse=True)


def refusal(tally: AbandonedTally) -> str:
    """Say why nothing of a family may be removed; empty where it may. Pure."""
    if tally.owners.answers == "kept" and tally.keys_seen == tally.gone_keys > 0:
        return (
            f"not one of {counted(tally.keys_seen, 'stream')} belongs to an id of the answer:"
            " another column or another database must be meant"
        )
    limit = tally.owners.share_limit_ratio
    if tally.share > limit:
        return (
            f"{percent(tally.share)} of the streams would go, more than share_limit_ratio"
            f" ({percent(limit)}) of stream_owners.{tally.family.owners} allows"
        )
    return ""


class RemovalJob(Protocol):
    """What the report wants to know of a job."""

    @property
    def target_name(self) -> str:
        """The name of the Redis target."""

    @property
    def options(self) -> Any:
        """The options, with ``dry_run``."""


def build_report(
    job: RemovalJob, tallies: Sequence[AbandonedTally], servers: Sequence[ServerFacts]
) -> Report:
    """Turn the counts into the report. Pure."""
    dry_run = job.options.dry_run
    due = [tally for tally in tallies if tally.gone_keys or tally.refusal]
    return Report(
        title=f"Abandoned streams on {job.target_name}",
        summary=_summary(job.target_name, tallies, dry_run=dry_run),
        findings=tuple(f for tally in tallies for f in _findings(tally, dry_run=dry_run)),
        outcomes=tuple(_outcome(tally, dry_run=dry_run) for tally in due),
        tables=tuple(_tables(tallies)),
        facts=_facts(tallies, servers, dry_run=dry_run),
        samples=tuple(Sample("streams_abandoned_keys", t.gone_keys, t.name) for t in tallies),
    )


def _summary(target_name: str, tallies: Sequence[AbandonedTally], *, dry_run: bool) -> str:
    if not tallies:
        return f"Nothing to do: no stream family on {target_name} names its owners."
    refused = [tally.name for tally in tallies if tally.refusal]
    if refused:
        rest = sum(tally.removed_keys for tally in tallies)
        return (
            f"Refused for {', '.join(refused)};"
            f" {counted(rest, 'stream') if rest else 'no stream'} removed."
        )
    gone = sum(tally.gone_keys for tally in tallies)
    seen = sum(tally.keys_seen for tally in tallies)
    if not gone:
        return f"Nothing to remove: every one of {counted(seen, 'stream')} has its owner."
    if dry_run:
        return f"{gone:,} of {counted(seen, 'stream')} would be removed; nothing was (dry run)."
    removed = sum(tally.removed_keys for tally in tallies)
    companions = sum(tally.removed_companions for tally in tallies)
    return f"{counted(removed, 'stream')} and {counted(companions, 'companion key')} removed."


def _statement(tally: AbandonedTally) -> str:
    key = tally.family.pattern.replace("*", "<id>")
    names = [key, *(template.replace("{key}", key) for template in tally.family.companions)]
    return f"UNLINK {' '.join(names)}"


def _outcome(tally: AbandonedTally, *, dry_run: bool) -> Outcome:
    action = Action(
        kind="remove",
        subject=tally.name,
        statement=_statement(tally),
        reason=f"{counted(tally.gone_keys, 'stream')} without an owner",
        predicted={
            "keys": tally.gone_keys,
            "members": tally.gone_members,
            "freed_bytes": tally.held_bytes,
        },
        undo="",  # only the application can fill a stream again
    )
    if tally.refusal:
        return Outcome(action, Verdict.REFUSED, f"Nothing was removed: {tally.refusal}.")
    if dry_run:
        return Outcome(action, Verdict.PLANNED, f"Dry run: nothing was removed. {NO_WAY_BACK}")
    sentence = (
        f"{counted(tally.removed_keys, 'stream')} and"
        f" {counted(tally.removed_companions, 'companion key')} removed."
    )
    if tally.came_back_keys:
        sentence += (
            f" {counted(tally.came_back_keys, 'stream')} came back at once: somebody writes."
        )
    return Outcome(
        action,
        Verdict.WORKED if tally.removed_keys else Verdict.NO_GAIN,
        sentence,
        before={"keys": tally.gone_keys},
        after={
            "keys": max(0, tally.gone_keys - tally.removed_keys) + tally.came_back_keys,
            "removed_keys": tally.removed_keys,
            "removed_companions": tally.removed_companions,
            "freed_bytes": _freed_bytes(tally),
        },
        duration_seconds=tally.duration_seconds,
    )


def _freed_bytes(tally: AbandonedTally) -> int | None:
    if tally.held_bytes is None or not tally.gone_keys:
        return tally.held_bytes
    return round(tally.held_bytes * tally.removed_keys / tally.gone_keys)


def _findings(tally: AbandonedTally, *, dry_run: bool) -> Iterator[Finding]:
    if tally.gone_keys:
        yield _abandoned(tally, dry_run=dry_run)
    if tally.refusal:
        yield Finding(
            code="streams-removal-refused",
            severity=Severity.WARNING,
            subject=tally.name,
            sentence=f"No stream of {tally.name} was removed: {tally.refusal}.",
            evidence={
                "owners_known": tally.owners_known,
                "keys_seen": tally.keys_seen,
                "keys_gone": tally.gone_keys,
            },
            advice="Point the target at the primary."
            if tally.refusal == REPLICA
            else (
                f"Check the query or function of stream_owners.{tally.family.owners} and what it"
                " answers; where it is right, raise share_limit_ratio."
            ),
        )
    if tally.gone_keys and tally.memory_denied:
        yield unavailable(
            "stream-memory-freed", tally.name, "the memory freed", "the ACL right +memory|usage"
        )
    if tally.moved_keys:
        yield moved(tally.moved_keys, tally.name)
    if tally.wrong_type_keys:
        yield Finding(
            code="stream-wrong-type",
            severity=Severity.INFO,
            subject=tally.name,
            sentence=(f"{left_alone(tally.wrong_type_keys, tally.name, tally.family.type)}."),
            evidence={"keys": tally.wrong_type_keys},
            advice="Narrow the pattern of this family, or correct its type.",
        )


def _abandoned(tally: AbandonedTally, *, dry_run: bool) -> Finding:
    held = tally.held_bytes
    memory = "" if held is None else f", about {bytes_in_words(held)} with what belongs to them"
    names = [describe_key(key) for _length, key in tally.longest]
    done = bool(tally.removed_keys) and not dry_run
    return Finding(
        code="streams-abandoned",
        severity=Severity.INFO if done else Severity.WARNING,
        subject=tally.name,
        sentence=(
            f"By what {tally.family.owners} answers, {tally.gone_keys:,} of"
            f" {counted(tally.keys_seen, tally.name + ' stream')}"
            f" {'belonged' if done else 'belong'} to owners who are gone{memory}: the longest"
            f" {names[0]} with {counted(tally.longest[0][0], 'member')}."
        ),
        evidence={
            "owners_known": tally.owners_known,
            "keys_seen": tally.keys_seen,
            "keys_gone": tally.gone_keys,
            "members_gone": tally.gone_members,
            "share_ratio": tally.share,
            "held_bytes": held,
            "longest_keys": names,
        },
        advice="" if done or tally.refusal else _WHAT_NEXT,
    )


def _tables(tallies: Sequence[AbandonedTally]) -> Iterator[Table]:
    if tallies:
        yield Table.of("Stream families with owners", [_row(tally) for tally in tallies])
    for tally in tallies:
        if tally.gone_keys:
            yield Table.of(
                f"Longest {tally.name} streams without an owner",
                [{"key": describe_key(key), "members": n} for n, key in tally.longest],
            )


def _row(tally: AbandonedTally) -> dict[str, Any]:
    return {
        "family": tally.name,
        "pattern": tally.family.pattern,
        "owners": tally.family.owners,
        "answers": tally.owners.answers,
        "owners_known": tally.owners_known,
        "keys_seen": tally.keys_seen,
        "keys_wrong_type": tally.wrong_type_keys,
        "keys_gone": tally.gone_keys,
        "members_gone": tally.gone_members,
        "held_bytes": tally.held_bytes,
        "keys_removed": tally.removed_keys,
        "companions_removed": tally.removed_companions,
    }


def _facts(
    tallies: Sequence[AbandonedTally], servers: Sequence[ServerFacts], *, dry_run: bool
) -> dict[str, Any]:
    needed = {"+ping", "+info", "+scan", "+unlink", "+exists", "+memory|usage"}
    needed.update(batch_size.NEEDS_ACL)
    if any(server.cluster_enabled for server in servers):
        needed.update(CLUSTER_NEEDS_ACL)
    for tally in tallies:
        needed.add(f"+{LENGTH_COMMANDS[tally.family.type].decode().lower()}")
    return {
        "server": ", ".join(sorted({server.name for server in servers})),
        "dry_run": dry_run,
        "needs_acl": sorted(needed),
        "undo": NO_WAY_BACK,
        "held_bytes_from": "MEMORY USAGE of a sample of the streams and their companions",
        "sampled_streams": sum(tally.sampled_streams for tally in tallies),
    }
