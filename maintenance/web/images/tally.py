"""What a run has seen and done so far, in a size that does not grow with the media. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.wording import bytes_in_words
from maintenance.web.images.places import MediaFile, printable
from maintenance.web.images.recode import FAULTS, LeftAlone, Reason, Recoded

#: Outcomes that a report shows: a person reads no more, and a page holds no more.
OUTCOMES_SHOWN = 50
#: Faults that are remembered, so that reports repeat them while their file is unchanged.
FAULTS_KEPT = 1000


@dataclass(slots=True)
class FormatTotals:
    """Counts and sizes of one format's files that this run looked at."""

    looked_at: int = 0
    rewritten: int = 0
    before_bytes: int = 0
    after_bytes: int = 0

    @property
    def saved_bytes(self) -> int:
        """What the run saved, or a dry run would."""
        return self.before_bytes - self.after_bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that a person should look at, as it was: ``fingerprint`` tells whether it still is."""

    name: str
    reason: str
    detail: str
    fingerprint: int


@dataclass(slots=True)
class Tally:
    """Sums over the files of a run. ``passed`` counts what the walk passed by, by its reason."""

    formats: dict[str, FormatTotals] = field(default_factory=dict)
    left_alone: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    passed_examples: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    faults_not_kept: int = 0
    largest: list[Outcome] = field(default_factory=list)
    files: int = 0
    known: int = 0
    private_dropped: int = 0
    private_kept: int = 0
    private_example: str = ""

    def pass_by(self, name: str, reason: str) -> None:
        """Count what is no file to be looked at."""
        self.passed[reason] += 1
        self.passed_examples.setdefault(reason, printable(name))

    def add(self, outcome: Outcome) -> None:
        """Count one file that was looked at, now or by an earlier attempt."""
        before, after = outcome.before, outcome.after
        totals = self.formats.setdefault(str(before["format"]), FormatTotals())
        totals.looked_at += 1
        totals.before_bytes += int(before["size_bytes"])
        totals.after_bytes += int(after["size_bytes"])
        name = outcome.action.subject
        if outcome.verdict in {Verdict.WORKED, Verdict.PLANNED}:
            totals.rewritten += 1
            self.private_dropped += bool(before["private"])
            self._keep_largest(outcome)
            return
        reason = Reason(str(after["reason"]))
        self.left_alone[reason] += 1
        if before["private"]:
            self.private_kept += 1
            self.private_example = self.private_example or name
        if reason in FAULTS:
            self.add_fault(Fault(name, reason, str(after["detail"]), int(before["fingerprint"])))

    def add_fault(self, fault: Fault) -> None:
        """Remember a fault, or count it where there are many."""
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(fault)
        else:
            self.faults_not_kept += 1

    def _keep_largest(self, outcome: Outcome) -> None:
        self.largest.append(outcome)
        if len(self.largest) >= 2 * OUTCOMES_SHOWN:
            self.largest = self._most_saving()

    def _most_saving(self) -> list[Outcome]:
        return sorted(self.largest, key=_saved_bytes, reverse=True)[:OUTCOMES_SHOWN]

    def shown(self) -> list[Outcome]:
        """Return the rewritten files that saved most, without what only another attempt needs."""
        return [
            replace(
                one,
                before={"size_bytes": one.before["size_bytes"]},
                after={"size_bytes": one.after["size_bytes"]},
            )
            for one in self._most_saving()
        ]

    @property
    def looked_at(self) -> int:
        """Images that were decoded, or refused."""
        return sum(totals.looked_at for totals in self.formats.values())

    @property
    def rewritten(self) -> int:
        """Images that were written anew, or would be."""
        return sum(totals.rewritten for totals in self.formats.values())

    @property
    def saved_bytes(self) -> int:
        """What all formats together saved."""
        return sum(totals.saved_bytes for totals in self.formats.values())


def _saved_bytes(outcome: Outcome) -> int:
    return int(outcome.before["size_bytes"]) - int(outcome.after["size_bytes"])


def _action(file: MediaFile, statement: str) -> Action:
    return Action(
        kind="rewrite image",
        subject=printable(file.name),
        statement=statement,
        reason="smaller files load sooner and take less room",
    )


def _before(file: MediaFile, format_name: str, *, private: bool) -> Mapping[str, Any]:
    return {
        "format": format_name,
        "size_bytes": file.size_bytes,
        "private": private,
        "fingerprint": file.fingerprint,
    }


def rewritten(
    file: MediaFile, format_name: str, image: Recoded, now: MediaFile | None, seconds: float
) -> Outcome:
    """Return the outcome of a file that was written anew as ``now``; ``None`` in a dry run."""
    size = len(image.data)
    return Outcome(
        action=_action(file, f"as {format_name}, {image.width:,} x {image.height:,} pixels"),
        verdict=Verdict.PLANNED if now is None else Verdict.WORKED,
        sentence=f"{bytes_in_words(file.size_bytes)} -> {bytes_in_words(size)}",
        before=_before(file, format_name, private=image.private),
        after={"size_bytes": size, "fingerprint": (now or file).fingerprint},
        duration_seconds=seconds,
    )


def left(file: MediaFile, format_name: str, why: LeftAlone, seconds: float) -> Outcome:
    """Return the outcome of a file that stays as it is."""
    refused = why.reason in FAULTS
    return Outcome(
        action=_action(file, ""),
        verdict=Verdict.REFUSED if refused else Verdict.NO_GAIN,
        sentence=str(why),
        before=_before(file, format_name, private=why.private),
        after={
            "size_bytes": file.size_bytes,
            "fingerprint": file.fingerprint,
            "reason": why.reason.value,
            "detail": why.detail,
        },
        duration_seconds=seconds,
    )
