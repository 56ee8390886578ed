"""What there is to say of companion keys that outlived their stream. Pure."""

from collections.abc import Iterator

from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.wording import bytes_in_words, counted
from maintenance.redis.abandoned_tally import CompanionTally
from maintenance.redis_client.connection import describe_key


def companions_subject(family: str) -> str:
    """Return what findings and outcomes call the companions of a family."""
    return f"{family} companions"


def companions_outcome(
    family: str, statement: str, tally: CompanionTally, *, dry_run: bool, no_way_back: str
) -> Outcome:
    """Say what became of them, or would."""
    keys = counted(tally.gone_keys, "companion key")
    action = Action(
        kind="remove",
        subject=companions_subject(family),
        statement=statement,
        reason=f"{keys} without a stream, of owners who are gone",
        predicted={"keys": tally.gone_keys, "freed_bytes": tally.held_bytes},
        undo="",  # only the application can write them again
    )
    if tally.refusal:
        return Outcome(action, Verdict.REFUSED, f"Nothing was removed: {tally.refusal}.")
    if dry_run:
        return Outcome(action, Verdict.PLANNED, f"Dry run: nothing was removed. {no_way_back}")
    return Outcome(
        action,
        Verdict.WORKED if tally.removed_keys else Verdict.NO_GAIN,
        f"{counted(tally.removed_keys, 'companion key')} without a stream removed.",
        before={"keys": tally.gone_keys},
        after={
            "keys": max(0, tally.gone_keys - tally.removed_keys),
            "removed_keys": tally.removed_keys,
        },
        duration_seconds=tally.duration_seconds,
    )


def companions_findings(
    family: str, owners: str, tally: CompanionTally, *, dry_run: bool, what_next: str
) -> Iterator[Finding]:
    """Name keys that have neither owner nor stream."""
    if not tally.gone_keys:
        return
    held = tally.held_bytes
    names = [describe_key(key) for key in tally.examples]
    done = bool(tally.removed_keys) and not dry_run
    memory = "" if held is None else f", about {bytes_in_words(held)}"
    yield Finding(
        code="stream-companions-abandoned",
        severity=Severity.INFO if done else Severity.WARNING,
        subject=companions_subject(family),
        sentence=(
            f"By what {owners} answers, {tally.gone_keys:,} of"
            f" {counted(tally.keys_seen, 'companion key')} of {family}"
            f" {'belonged' if done else 'belong'} to owners who are gone and had outlived their"
            f" stream{memory}: {names[0]} is one."
        ),
        evidence={
            "keys_seen": tally.keys_seen,
            "keys_gone": tally.gone_keys,
            "keys_of_others": tally.keys_of_others,
            "share_ratio": tally.share,
            "held_bytes": held,
            "examples": names,
        },
        advice="" if done or tally.refusal else what_next,
    )
