"""What there is to say of streams whose owners are gone. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.redis.abandoned_tally import REPLICA, AbandonedTally
from maintenance.redis.companions_report import (
    companions_findings,
    companions_outcome,
    companions_subject,
)
from maintenance.redis.stream_report import claimed, left_alone, moved
from maintenance.redis.trimming import LENGTH_COMMANDS
from maintenance.redis_client import batch_size
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.nodes import CLUSTER_NEEDS_ACL
from maintenance.redis_client.server import ServerFacts

NO_WAY_BACK = "Removing a stream cannot be undone: only the application can fill it again."

_WHAT_NEXT = (
    "Look at the keys, name exceptions, then run remove_abandoned_streams without dry run; it takes"
    f' allow = ["remove_streams"] of the target. {NO_WAY_BACK}'
)


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
    return Report(
        title=f"Abandoned streams on {job.target_name}",
        summary=_summary(job.target_name, tallies, dry_run=dry_run),
        findings=tuple(f for tally in tallies for f in _findings(tally, dry_run=dry_run)),
        outcomes=tuple(o for tally in tallies for o in _outcomes(tally, dry_run=dry_run)),
        tables=tuple(_tables(tallies)),
        facts=_facts(tallies, servers, dry_run=dry_run),
        samples=tuple(Sample("streams_abandoned_keys", t.gone_keys, t.name) for t in tallies),
    )


def _summary(target_name: str, tallies: Sequence[AbandonedTally], *, dry_run: bool) -> str:
    if not tallies:
        return f"Nothing to do: no stream family on {target_name} names its owners."
    refused = [tally.name for tally in tallies if tally.refusal]
    if refused:
        others = sum(tally.removed_keys for tally in tallies)
        return (
            f"Refused for {', '.join(refused)};"
            f" {counted(others, 'stream') if others else 'no stream'} removed."
        )
    gone = sum(tally.gone_keys for tally in tallies)
    seen = counted(sum(tally.keys_seen for tally in tallies), "stream")
    left = [tally.companions_left for tally in tallies if not tally.companions_left.refusal]
    without_stream = sum(one.gone_keys for one in left)
    if not (gone or without_stream):
        return f"Nothing to remove: every one of {seen} has its owner."
    if dry_run:
        rest = f" and {_left_in_words(without_stream)}" if without_stream else ""
        return f"{gone:,} of {seen}{rest} would be removed; nothing was (dry run)."
    removed = sum(tally.removed_keys for tally in tallies)
    companions = sum(tally.removed_companions for tally in tallies)
    rest = f", and {_left_in_words(sum(one.removed_keys for one in left))}"
    return (
        f"{counted(removed, 'stream')} and {counted(companions, 'companion key')} removed"
        f"{rest if without_stream else ''}."
    )


def _left_in_words(keys: int) -> str:
    return f"{counted(keys, 'companion key')} without a stream"


def _statement(tally: AbandonedTally) -> str:
    return f"UNLINK {' '.join([_key_in_words(tally), *_companions_in_words(tally)])}"


def _key_in_words(tally: AbandonedTally) -> str:
    return tally.family.pattern.replace("*", "<id>")


def _companions_in_words(tally: AbandonedTally) -> list[str]:
    key = _key_in_words(tally)
    return [template.replace("{key}", key) for template in tally.family.companions]


def _outcomes(tally: AbandonedTally, *, dry_run: bool) -> Iterator[Outcome]:
    if tally.gone_keys or tally.refusal:
        yield _outcome(tally, dry_run=dry_run)
    if tally.companions_left.gone_keys:
        yield companions_outcome(
            tally.name,
            f"UNLINK {' '.join(_companions_in_words(tally))}",
            tally.companions_left,
            dry_run=dry_run,
            no_way_back=NO_WAY_BACK,
        )


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
            evidence=_doubt(tally, tally.keys_seen, tally.gone_keys),
            advice="Point the target at the primary."
            if tally.refusal == REPLICA
            else _check_the_answer(tally),
        )
    left = tally.companions_left
    yield from companions_findings(
        tally.name, tally.family.owners, left, dry_run=dry_run, what_next=_WHAT_NEXT
    )
    if left.refusal:
        yield Finding(
            code="streams-removal-refused",
            severity=Severity.WARNING,
            subject=companions_subject(tally.name),
            sentence=f"No companion key of {tally.name} without a stream was removed: {left.refusal}.",
            evidence=_doubt(tally, left.keys_seen, left.gone_keys),
            advice=_check_the_answer(tally),
        )
    if (tally.gone_keys and tally.memory_denied) or left.memory_denied:
        yield unavailable(
            "stream-memory-freed", tally.name, "the memory freed", "the ACL right +memory|usage"
        )
    if tally.claimed_keys:
        yield claimed(tally.claimed_keys, tally.claimed_examples, tally.name)
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


def _doubt(tally: AbandonedTally, seen: int, gone: int) -> dict[str, int]:
    return {"owners_known": tally.owners_known, "keys_seen": seen, "keys_gone": gone}


def _check_the_answer(tally: AbandonedTally) -> str:
    return (
        f"Check the query or function of stream_owners.{tally.family.owners} and what it answers;"
        " where it is right, raise share_limit_ratio."
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
        "companions_without_stream": tally.companions_left.gone_keys,
        "of_these_removed": tally.companions_left.removed_keys,
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
