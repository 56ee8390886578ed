"""The report of a trim of streams, made of its counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, seconds_in_words
from maintenance.redis.stream_groups import held
from maintenance.redis.stream_tally import FamilyTally
from maintenance.redis_client import batch_size
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.nodes import CLUSTER_NEEDS_ACL
from maintenance.redis_client.own_walks import walk_samples
from maintenance.redis_client.server import ServerFacts


@dataclass(slots=True)
class NodeRun:
    """One server of the target, before and after."""

    name: str
    before: ServerFacts
    after: ServerFacts | None = None


@dataclass(slots=True)
class StreamRun:
    """One run over the families of one target."""

    target_name: str
    dry_run: bool
    nodes: list[NodeRun]
    tallies: list[FamilyTally] = field(default_factory=list)

    @property
    def is_replica(self) -> bool:
        """Whether no server of the target may be written to."""
        return all(node.before.is_replica for node in self.nodes)

    @property
    def refused(self) -> bool:
        """Whether writes were asked for and the server is one that must not be written to."""
        return self.is_replica and not self.dry_run

    @property
    def writes(self) -> bool:
        """Whether this run wrote."""
        return not (self.dry_run or self.is_replica)

    @property
    def used_memory_before_bytes(self) -> int:
        """Memory of all servers together when the run began."""
        return sum(node.before.used_memory_bytes for node in self.nodes)

    @property
    def used_memory_after_bytes(self) -> int:
        """Memory of all servers together at the end."""
        return sum((node.after or node.before).used_memory_bytes for node in self.nodes)


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
        return f"Nothing to trim: none of {counted(seen, 'stream')} is over its limits."
    removed = sum(t.members_removed for t in run.tallies)
    if run.writes:
        return f"{removed:,} members removed from {over:,} of {seen:,} streams{_freed_clause(run)}."
    planned = sum(t.members_over for t in run.tallies)
    at_least = next((_at_least(t) for t in run.tallies if t.over_length_keys and _at_least(t)), "")
    why = "the server is a replica" if run.refused else "dry run"
    return (
        f"{over:,} of {seen:,} streams are over their limits by {at_least}{planned:,} members;"
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
        reason=f"{tally.over_length_keys:,} keys hold {_too_much(tally)}",
        predicted={"keys": tally.over_length_keys, "members": tally.members_to_go},
        undo="",  # what a trim removed is gone; the application may rebuild a stream
    )
    if run.dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was written.")
    if run.refused:
        return Outcome(action, Verdict.REFUSED, _REPLICA_REASON)
    return Outcome(
        action,
        _verdict(tally),
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


def _verdict(tally: FamilyTally) -> Verdict:
    if tally.members_removed or not (tally.grown_keys or tally.held_keys):
        return Verdict.WORKED
    return Verdict.FAILED if tally.grown_keys else Verdict.BLOCKED


def _at_least(tally: FamilyTally) -> str:
    """Entries of a Redis stream are not counted by age: one stands for all that are too old."""
    return "at least " if tally.rule.age is not None and tally.family.type == "stream" else ""


def _too_much(tally: FamilyTally) -> str:
    """Say what a stream of this family may not hold."""
    text = f"more than {tally.family.max_length:,} members"
    if tally.rule.age is not None and tally.family.max_age_seconds is not None:
        text += f" or members older than {seconds_in_words(tally.family.max_age_seconds)}"
    return text


def _outcome_sentence(tally: FamilyTally) -> str:
    text = f"{tally.members_removed:,} members removed"
    if tally.rule.age is None:
        text += (
            f"; {tally.keys_exact_after:,} of {tally.over_length_keys:,} streams hold exactly"
            f" {tally.family.max_length:,} now"
        )
    if tally.held_keys:
        text += f"; {tally.held_keys:,} stay over their limits for consumer groups"
    if tally.grown_keys:
        text += f", {tally.grown_keys:,} grew again before the second look"
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
    for tally in run.tallies:
        yield from _family_findings(run, tally)


def _family_findings(run: StreamRun, tally: FamilyTally) -> Iterator[Finding]:
    if tally.over_length_keys:
        length, key = tally.longest[0]
        then = (
            f"{tally.members_removed:,} members were removed"
            if run.writes
            else f"{_at_least(tally)}{tally.members_to_go:,} members would be removed"
        )
        yield Finding(
            code="streams-over-length",
            severity=Severity.INFO if run.writes else Severity.WARNING,
            subject=tally.name,
            sentence=(
                f"{tally.over_length_keys:,} of {tally.keys_seen:,} {tally.name} streams held"
                f" {_too_much(tally)}, the longest {describe_key(key)} {length:,}; {then}."
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
    yield from _left_alone(tally)
    if tally.claimed_keys:
        yield claimed(tally.claimed_keys, tally.claimed_examples, tally.name)
    if not (tally.keys_seen or tally.claimed_keys or tally.moved_keys):
        source = (
            f'matches the pattern "{tally.family.pattern}"'
            if tally.family.pattern
            else f'is named by the key provider "{tally.family.provider}"'
        )
        yield Finding(
            code="stream-family-empty",
            severity=Severity.INFO,
            subject=tally.name,
            sentence=f"No {tally.family.type} key {source}.",
            advice="Check the pattern, the database number in the URL and the key prefix.",
        )
    if run.writes and tally.members_removed and tally.freed_bytes is None:
        needs = "the ACL right +memory|usage" if tally.memory_denied else "keys that stay in place"
        yield unavailable("stream-memory-freed", tally.name, "the memory freed", needs)


def _left_alone(tally: FamilyTally) -> Iterator[Finding]:
    if tally.ages_withheld:
        yield unavailable(
            "stream-ages", tally.name, "removing members by age", f"one time: {tally.ages_withheld}"
        )
    if tally.untimed_keys:
        yield Finding(
            code="stream-ids-are-no-times",
            severity=Severity.WARNING,
            subject=tally.name,
            sentence=(
                f"{counted(tally.untimed_keys, 'stream')} of {tally.name} begin with an entry ID"
                " that is no time; nothing in them was removed by age."
            ),
            evidence={"keys": tally.untimed_keys},
            advice="Remove max_age_seconds of this family, or let the server choose the IDs.",
        )
    if tally.held_keys:
        yield held(tally.held_keys, tally.members_held, tally.held_examples, tally.name)
    if tally.moved_keys:
        yield moved(tally.moved_keys, tally.name)


def moved(keys: int, family: str) -> Finding:
    """Name keys of a family that went to another node of the cluster."""
    return Finding(
        code="stream-keys-moved",
        severity=Severity.INFO,
        subject=family,
        sentence=(
            f"{counted(keys, 'key')} of {family} moved to another node of the cluster meanwhile and"
            f" {'was' if keys == 1 else 'were'} left alone."
        ),
        evidence={"keys": keys},
        advice="The next run finds them where they are then.",
    )


def claimed(keys: int, by_key: Mapping[bytes, str], family: str) -> Finding:
    """Name keys of a family that another one claims as well; ``by_key`` gives some with the other."""
    examples = {describe_key(key): other for key, other in by_key.items()}
    named = ", ".join(f"{key} ({other})" for key, other in examples.items())
    return Finding(
        code="stream-keys-claimed",
        severity=Severity.WARNING,
        subject=family,
        sentence=(
            f"{counted(keys, 'key')} of {family}, claimed by another family as well,"
            f" {'was' if keys == 1 else 'were'} left alone: {named}."
        ),
        evidence={"keys": keys, "examples": examples},
        advice="One key can have one limit only: narrow the pattern or the provider of one family.",
    )


def left_alone(keys: int, family: str, kind: str) -> str:
    """Say how many keys bear a name of a family and are of another type."""
    if keys == 1:
        return f"1 key is named as one of {family} but is no {kind}; it was left alone"
    return f"{keys:,} keys are named as those of {family} but are no {kind}; they were left alone"


def _wrong_type(tally: FamilyTally) -> Finding:
    examples = {describe_key(key): kind for key, kind in tally.wrong_type_examples.items()}
    named = ", ".join(f"{key} ({kind})" if kind else key for key, kind in examples.items())
    return Finding(
        code="stream-wrong-type",
        severity=Severity.WARNING,
        subject=tally.name,
        sentence=(f"{left_alone(tally.wrong_type_keys, tally.name, tally.family.type)}: {named}."),
        evidence={"keys": tally.wrong_type_keys, "examples": examples},
        advice="Narrow the pattern of this family, or correct its type.",
    )


def _tables(run: StreamRun) -> Iterator[Table]:
    if len(run.nodes) > 1:
        yield Table.of("Servers", [_node_row(node) for node in run.nodes])
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


def _node_row(node: NodeRun) -> dict[str, Any]:
    return {
        "server": node.name,
        "version": node.before.name,
        "keys": node.before.keys,
        "used_memory_before_bytes": node.before.used_memory_bytes,
        "used_memory_after_bytes": node.after.used_memory_bytes if node.after else None,
    }


def _family_row(tally: FamilyTally) -> dict[str, Any]:
    return {
        "family": tally.name,
        "pattern": tally.family.pattern or f"by {tally.family.provider}",
        "type": tally.family.type,
        "max_members": tally.family.max_length,
        "max_age_seconds": tally.family.max_age_seconds,
        "kept_end": tally.rule.kept_end,
        "keys_seen": tally.keys_seen,
        "keys_wrong_type": tally.wrong_type_keys,
        "keys_over_length": tally.over_length_keys,
        "members_over": tally.members_over,
        "members_removed": tally.members_removed,
        "freed_bytes": tally.freed_bytes,
        "longest_batch_seconds": tally.longest_batch_seconds or None,
        "duration_seconds": tally.duration_seconds,
    }


def _facts(run: StreamRun) -> dict[str, Any]:
    needed = {"+ping", "+info", "+type", "+memory|usage", *batch_size.NEEDS_ACL}
    if any(node.before.cluster_enabled for node in run.nodes):
        needed.update(CLUSTER_NEEDS_ACL)
    return {
        "server": ", ".join(sorted({node.before.name for node in run.nodes})),
        "role": "replica" if run.is_replica else "primary",
        "dry_run": run.dry_run,
        "used_memory_before_bytes": run.used_memory_before_bytes,
        "used_memory_after_bytes": run.used_memory_after_bytes,
        "needs_acl": sorted(needed.union(*(tally.rule.needs_acl for tally in run.tallies))),
        "freed_bytes_from": "MEMORY USAGE of a sample of the trimmed keys, before and after",
        "sampled_keys": sum(tally.sampled_keys for tally in run.tallies),
        # By the server's clock; not known where it may not be read.
        "longest_batch_seconds": max(
            (tally.longest_batch_seconds for tally in run.tallies), default=0.0
        )
        or None,
    }


def _samples(run: StreamRun) -> Iterator[Sample]:
    for node in run.nodes:
        yield from walk_samples(node.before, node.after)
    for tally in run.tallies:
        yield Sample("streams_over_length_keys", tally.over_length_keys, tally.name)
        yield Sample("streams_removed_members", tally.members_removed, tally.name)
    yield Sample("redis_used_memory_bytes", run.used_memory_after_bytes)
