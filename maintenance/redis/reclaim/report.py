"""What a reclaim of memory has to say: what it saw, what it did, and what that gained. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.redis.reclaim import encodings as encodings_part
from maintenance.redis.reclaim import leftovers as leftovers_part
from maintenance.redis.reclaim import repack as repack_part
from maintenance.redis.reclaim import trial as trial_part
from maintenance.redis.reclaim.advice import (
    encoding_findings,
    encoding_tables,
    list_findings,
    permanence,
    raised_limits,
    too_large_findings,
    too_slow_findings,
    trial_findings,
)
from maintenance.redis.reclaim.compact import Limits, SizeModel
from maintenance.redis.reclaim.encodings import EncodingSample, Recommendation
from maintenance.redis.reclaim.expiry import ExpiryLook
from maintenance.redis.reclaim.leftovers import LeftoverTally
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.repack import RepackTally
from maintenance.redis.reclaim.trial import Measured
from maintenance.redis_client.idle_times import IdleTimes
from maintenance.redis_client.own_walks import walk_samples
from maintenance.redis_client.server import ServerFacts

#: A rewrite needs room for a second copy of a few values. Nearer than this to maxmemory, it could
#: make the server evict keys or refuse writes.
HIGHEST_USED_RATIO = 0.95


@dataclass(slots=True)
class ReclaimRun:
    """Everything that one run saw and did."""

    target_name: str
    options: ReclaimOptions
    server: ServerFacts
    config_file: str
    model: SizeModel
    idle_times: IdleTimes
    settings: dict[str, str] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    sample: EncodingSample | None = None
    recommendations: Sequence[Recommendation] = ()
    trials: dict[str, Sequence[Measured]] = field(default_factory=dict)
    too_slow: dict[str, tuple[Recommendation, Sequence[Measured]]] = field(default_factory=dict)
    repack: RepackTally | None = None
    leftovers: list[LeftoverTally] = field(default_factory=list)
    withheld: dict[str, str] = field(default_factory=dict)
    after: ServerFacts | None = None

    def is_untried(self, one: Recommendation) -> bool:
        """Whether a limit is advised that no trial has passed yet."""
        return not one.is_repack_only and one.setting not in self.trials

    @property
    def refusal(self) -> str:
        """Why nothing may be written; empty where it may."""
        if self.server.is_replica:
            return (
                "This server is a replica: a write here would be refused, or lost at the next"
                " synchronisation. Point the target at its primary."
            )
        return ""

    @property
    def repack_refusal(self) -> str:
        """Why nothing may be repacked; empty where it may."""
        most = self.server.maxmemory_bytes
        if most and self.server.used_memory_bytes > HIGHEST_USED_RATIO * most:
            return (
                "Memory is too full to write values anew: it could make the server evict keys or"
                " refuse writes. Make room first, or raise maxmemory for the time of the run."
            )
        return self.refusal

    @property
    def writes(self) -> bool:
        """Whether this run may write at all."""
        return not (self.options.dry_run or self.refusal)

    @property
    def may_repack(self) -> bool:
        """Whether this run may write values anew."""
        return self.writes and not self.repack_refusal

    @property
    def may_try_out(self) -> bool:
        """Whether this run may make copies: on a cluster their names would belong to other nodes."""
        return self.may_repack and not self.server.cluster_enabled


def build_report(run: ReclaimRun) -> Report:
    """Turn what a run saw and did into its report."""
    return Report(
        title=f"Memory to win back on {run.target_name}",
        summary=_summary(run),
        findings=tuple(by_seriousness(_findings(run))),
        outcomes=tuple(_outcomes(run)),
        tables=tuple(_tables(run)),
        facts=_facts(run),
        samples=tuple(_samples(run)),
        state=run.idle_times.state,
    )


def _summary(run: ReclaimRun) -> str:
    parts = [*_encoding_words(run), *_repack_words(run), *map(_leftover_words, run.leftovers)]
    if run.refusal and set(run.options.parts) - {"encodings"}:
        parts.append("nothing was written (the server is a replica)")
    elif run.options.dry_run:
        parts.append("nothing was written (dry run)")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else "Nothing to do: no rule is configured."


def _encoding_words(run: ReclaimRun) -> Iterator[str]:
    if run.sample is None:
        return
    # The same values may gain by a number of members and by their length: the best one counts.
    best: dict[str, float] = {}
    for one in run.recommendations:
        group = f"{one.kind} {one.is_repack_only}"
        best[group] = max(best.get(group, 0.0), one.saved_bytes)
    if best:
        yield (
            f"about {bytes_in_words(sum(best.values()))} of"
            f" {bytes_in_words(run.server.used_memory_bytes)} can be won back by compact encodings"
        )
    else:
        yield "compact encodings would save nothing that is worth a change"


def _repack_words(run: ReclaimRun) -> Iterator[str]:
    tally = run.repack
    if tally is None:
        return
    if run.may_repack:
        yield (
            f"{counted(tally.repacked, 'key')} repacked, from {bytes_in_words(tally.before_bytes)} to"
            f" {bytes_in_words(tally.after_bytes)}"
        )
    else:
        yield (
            f"{counted(tally.candidates, 'key')} of {bytes_in_words(tally.candidate_bytes)} can be"
            " repacked"
        )


def _leftover_words(tally: LeftoverTally) -> str:
    count, size = tally.written or tally.meant, tally.written_bytes or tally.meant_bytes
    to_be = "" if tally.written or not tally.meant else "to be "
    return (
        f"{counted(count, 'key')} under {tally.rule.prefix} ({bytes_in_words(size)})"
        f" {to_be}{tally.rule.verb}"
    )


def _findings(run: ReclaimRun) -> Iterator[Finding]:
    if run.refusal:
        yield Finding(
            code="reclaim-target-is-replica",
            severity=Severity.WARNING,
            subject=run.target_name,
            sentence=f"Nothing is written on {run.target_name}: the server is a replica.",
            advice="Point the target at the primary, which passes on what it does.",
        )
    if run.server.cluster_enabled:
        yield Finding(
            code="reclaim-target-is-cluster-node",
            severity=Severity.INFO,
            subject=run.target_name,
            sentence=f"{run.target_name} is one node of a cluster: only its own keys were seen.",
            advice="Configure each primary of the cluster as a target of its own.",
        )
    yield from encoding_findings(
        run.recommendations, run.server, run.config_file, tried=run.trials.keys()
    )
    if run.sample is not None:
        yield from too_large_findings(run.sample, run.server)
        yield from list_findings(run.sample, run.settings)
    yield from trial_findings(run.trials)
    yield from too_slow_findings(run.too_slow)
    if "trial" in run.options.parts and not run.may_try_out:
        yield unavailable("redis-encoding-trial", run.target_name, "the trial", _trial_needs(run))
    yield from _permanence_findings(run)
    for prefix, needs in run.withheld.items():
        yield unavailable(
            "reclaim-idle-times", prefix, f"which keys under {prefix} nobody uses", needs
        )


def _trial_needs(run: ReclaimRun) -> str:
    if run.options.dry_run:
        return "a run without dry run, since it writes copies"
    return "a primary outside of a cluster, with memory to spare"


def _permanence_findings(run: ReclaimRun) -> Iterator[Finding]:
    """Remind of a limit that somebody raised: whether a restart keeps it cannot be seen."""
    if run.repack is None or not run.repack.repacked:
        return
    for setting, value, default in raised_limits(run.limits):
        yield Finding(
            code="redis-limit-permanent",
            severity=Severity.INFO,
            subject=setting,
            sentence=(
                f"{setting} is {value} and {default} by default: what was repacked stays compact"
                " through a restart only if the server's configuration says so."
            ),
            evidence={"value": value, "default": default},
            advice=permanence(f"{setting} {value}", run.config_file),
            commands=("CONFIG REWRITE",) if run.config_file else (),
        )


def _outcomes(run: ReclaimRun) -> Iterator[Outcome]:
    if run.repack is not None and run.repack.candidates:
        yield _repack_outcome(run, run.repack)
    for tally in run.leftovers:
        if tally.meant:
            yield _leftover_outcome(run, tally)


def _repack_outcome(run: ReclaimRun, tally: RepackTally) -> Outcome:
    ready = [one for one in run.recommendations if one.is_repack_only]
    predicted = {"saved_bytes": sum(one.saved_bytes for one in ready)} if run.sample else {}
    action = Action(
        kind="repack",
        subject=run.target_name,
        statement="WATCH <key>; DUMP <key>; MULTI; RESTORE <key> ... REPLACE; EXEC",
        reason=f"{counted(tally.candidates, 'key')} fit the limits and are not compact",
        predicted={"keys": tally.candidates, "before_bytes": tally.candidate_bytes, **predicted},
        undo="",  # there is nothing to take back: the value is the same
    )
    if run.options.dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was written.")
    if run.repack_refusal:
        return Outcome(action, Verdict.REFUSED, run.repack_refusal)
    after = run.after.used_memory_bytes if run.after else None
    return Outcome(
        action,
        Verdict.WORKED if tally.freed_bytes > 0 else Verdict.NO_GAIN,
        _repack_sentence(tally),
        before={
            "used_memory_bytes": run.server.used_memory_bytes,
            "repacked_bytes": tally.before_bytes,
        },
        after={"used_memory_bytes": after, "repacked_bytes": tally.after_bytes},
        duration_seconds=tally.duration_seconds,
    )


def _repack_sentence(tally: RepackTally) -> str:
    text = (
        f"{counted(tally.repacked, 'key')} repacked in place: {bytes_in_words(tally.before_bytes)}"
        f" became {bytes_in_words(tally.after_bytes)}"
    )
    rest = {
        f"{tally.contested:,} were written to meanwhile at each attempt and left alone": (
            tally.contested
        ),
        f"{tally.fruitless:,} cannot be compact (members longer than the limit, or fields with a time"
        " to live of their own)": tally.fruitless,
        f"{tally.vanished:,} were gone by then": tally.vanished,
        f"{tally.moved:,} live on another node by now": tally.moved,
    }
    return "; ".join([text, *(words for words, count in rest.items() if count)]) + "."


def _leftover_outcome(run: ReclaimRun, tally: LeftoverTally) -> Outcome:
    rule = tally.rule
    action = Action(
        kind="expire" if rule.undo else "remove",
        subject=rule.prefix,
        statement=rule.statement,
        reason=f"{counted(tally.meant, 'key')} under {rule.prefix} are meant by the rule",
        predicted={"keys": tally.meant, "size_bytes": tally.meant_bytes},
        undo=rule.undo,
    )
    if run.options.dry_run:
        final = "" if rule.undo else " What is removed cannot be brought back."
        return Outcome(action, Verdict.PLANNED, f"Dry run: nothing was written.{final}")
    if run.refusal:
        return Outcome(action, Verdict.REFUSED, run.refusal)
    changed = tally.changed + tally.contested
    left = f"; {changed:,} changed meanwhile and were left alone" if changed else ""
    return Outcome(
        action,
        Verdict.WORKED if tally.written else Verdict.NO_GAIN,
        f"{counted(tally.written, 'key')} {rule.verb}, {bytes_in_words(tally.written_bytes)}{left}.",
        before={"keys": tally.meant},
        after={"keys": tally.meant - tally.written},
    )


def _tables(run: ReclaimRun) -> Iterator[Table]:
    yield from encoding_tables(run.recommendations, run.trials)
    if run.repack is not None and run.repack.by_shape:
        rows = [{"keys_like": s, "keys": n} for s, n in run.repack.by_shape.most_common(15)]
        yield Table.of("Keys to repack by kind", rows)
    if run.leftovers:
        yield Table.of("Keys by rule", [_rule_row(tally) for tally in run.leftovers])


def _rule_row(tally: LeftoverTally) -> dict[str, Any]:
    return {
        "prefix": tally.rule.prefix,
        "rule": tally.rule.statement,
        "keys_seen": tally.keys_seen,
        "meant": tally.meant,
        "meant_bytes": tally.meant_bytes,
        "spared": tally.spared,
        "written": tally.written,
        "for_example": ", ".join(tally.examples),
    }


def _facts(run: ReclaimRun) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "server": run.server.name,
        "role": run.server.role,
        "dry_run": run.options.dry_run,
        "parts": list(run.options.parts),
        "used_memory_before_bytes": run.server.used_memory_bytes,
        "needs_acl": _needs_acl(run),
    }
    if run.after is not None:
        facts["used_memory_after_bytes"] = run.after.used_memory_bytes
    if run.sample is not None:
        facts["keys_looked_at"] = run.sample.drawn
        facts["keys_are"] = "all of them" if run.sample.is_whole else "a random sample"
        error = run.sample.model_error_ratio
        facts["sizes_from"] = "a model of the compact encodings" + (
            "; no compact value was among the keys to check it by"
            if error is None
            else ", checked against MEMORY USAGE of compact values"
        )
        if error is not None:
            facts["model_error_ratio"] = error
    if run.repack is not None and run.writes:
        facts["longest_batch_ms"] = run.repack.longest_batch_seconds * 1000
        facts["idle_times"] = "kept (RESTORE IDLETIME, FREQ under an LFU policy)"
    return facts


def _needs_acl(run: ReclaimRun) -> list[str]:
    parts = run.options.parts
    rights = {"+ping", "+info", "+config|get"}
    if run.sample is not None:
        rights.update(encodings_part.NEEDS_ACL)
    if "trial" in parts:
        rights.update(trial_part.NEEDS_ACL)
    if "repack" in parts:
        rights.update(repack_part.NEEDS_ACL, ExpiryLook.of(run.server).needs_acl)
    for tally in run.leftovers:
        rights.update(leftovers_part.NEEDS_ACL, tally.rule.needs_acl)
    return sorted(rights)


def _samples(run: ReclaimRun) -> Iterator[Sample]:
    yield from walk_samples(run.server, run.after)
    if run.after is not None:
        yield Sample("redis_used_memory_bytes", run.after.used_memory_bytes)
    if run.repack is not None and run.writes:
        yield Sample("redis_repacked_keys", run.repack.repacked)
        yield Sample("redis_repack_freed_bytes", run.repack.freed_bytes)
