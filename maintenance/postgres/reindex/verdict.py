"""What came of a rebuild, judged by a second measurement. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.wording import bytes_in_words, seconds_in_words

#: An index that shrank by less was not bloated: the most by which a measurement was ever wrong
#: (docs/benchmarks.md, "bloat-accuracy").
SHRUNK_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """An index before or after its rebuild; ``kept`` is what a rebuild must not change."""

    oid: int
    size_bytes: int
    scans: int
    is_usable: bool
    kept: Mapping[str, Any]


def judge(
    action: Action, before: IndexSnapshot, after: IndexSnapshot | None, seconds: float
) -> Outcome:
    """Compare an index with itself before the rebuild; ``after`` is ``None`` where it is not to be seen."""
    if after is None:
        return Outcome(
            action,
            Verdict.FAILED,
            "it was rebuilt, but cannot be compared: it is locked, or was renamed or dropped since",
            before=_measured(before),
            duration_seconds=seconds,
        )
    verdict, sentence = _verdict(action, before, after, seconds)
    changed = changes(before, after)
    return Outcome(
        action,
        verdict,
        sentence,
        before=_measured(before),
        after={
            **_measured(after),
            "gained_bytes": before.size_bytes - after.size_bytes,
            **({"changed": changed} if changed else {}),
        },
        duration_seconds=seconds,
    )


def changes(before: IndexSnapshot, after: IndexSnapshot) -> list[str]:
    """Name what is not as it was: nothing, unless something went wrong."""
    return sorted(name for name in before.kept if before.kept[name] != after.kept.get(name))


def _verdict(
    action: Action, before: IndexSnapshot, after: IndexSnapshot, seconds: float
) -> tuple[Verdict, str]:
    changed = changes(before, after)
    if after.oid == before.oid:
        return Verdict.FAILED, "the server reported success, but it is still the old index"
    if not after.is_usable:
        return Verdict.FAILED, "it is invalid after its rebuild"
    if changed:
        return Verdict.FAILED, f"it is not as it was after its rebuild: {', '.join(changed)} differ"
    sizes = f"{bytes_in_words(before.size_bytes)} before, {bytes_in_words(after.size_bytes)} after"
    took = f"in {seconds_in_words(seconds)}"
    gained = before.size_bytes - after.size_bytes
    note = _scans_note(before, after)
    if gained < SHRUNK_RATIO * before.size_bytes:
        return Verdict.NO_GAIN, f"it did not shrink: {sizes}, {took}{note}"
    predicted = action.predicted.get("gain_bytes")
    expected = "" if predicted is None else f" ({bytes_in_words(predicted)} predicted)"
    return Verdict.WORKED, f"{sizes}: {bytes_in_words(gained)} gained{expected}, {took}{note}"


def _scans_note(before: IndexSnapshot, after: IndexSnapshot) -> str:
    if after.scans >= before.scans:
        return ""
    return (
        f". Its count of scans began anew (it was {before.scans:,}), as this version keeps it with"
        " the old index: until it has grown again, zero does not mean unused"
    )


def _measured(snapshot: IndexSnapshot) -> dict[str, Any]:
    return {"size_bytes": snapshot.size_bytes, "scans": snapshot.scans}
