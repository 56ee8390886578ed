"""A digest as data, and what it says in a sentence. Pure: what was looked up goes in, words come out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from maintenance.core.findings import Severity
from maintenance.core.wording import counted, listed

#: Entries of each part; the rest are counted, and one link leads to all of them.
MOST_ENTRIES = 12
#: Names in a sentence on what was not looked at.
MOST_NAMED = 6

_NOUNS = {
    Severity.CRITICAL: ("critical", "critical"),
    Severity.WARNING: ("warning", "warnings"),
    Severity.INFO: ("note", "notes"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding that is the case now, for all of its kind: ``alike`` counts them, itself too."""

    severity: Severity
    target: str
    code: str
    subject: str
    sentence: str
    advice: str
    since: datetime | None
    is_new: bool
    link: str = ""
    alike: int = 1


@dataclass(frozen=True, slots=True)
class Gone:
    """A finding that was there at the last digest and is not any more."""

    severity: Severity
    target: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Gap:
    """What nobody can say is well: ``why`` is a sentence."""

    why: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """One key metric that misses its target or moves. ``picture`` is the name of its PNG file."""

    target: str
    label: str
    value: str
    limit: str
    trend: str
    in_words: str
    bars: str
    picture: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Digest:
    """What changed from ``since`` to ``until``, and what needs a person.

    ``uncounted`` is how many findings were too many to be read; none is worse than those that were.
    """

    period: str
    since: datetime
    until: datetime
    entries: Sequence[Entry]
    gone: Sequence[Gone]
    gaps: Sequence[Gap]
    looks: int
    targets: int
    last_look: datetime | None
    muted: int = 0
    uncounted: int = 0
    not_yet: Sequence[str] = ()
    courses: Sequence[Course] = ()

    @property
    def new(self) -> list[Entry]:
        """What came since the last digest, worst first."""
        return [entry for entry in self.entries if entry.is_new]

    @property
    def old(self) -> list[Entry]:
        """What was there before and still needs somebody, worst first."""
        return [entry for entry in self.entries if not entry.is_new]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed and nothing needs anybody."""
        return not (self.entries or self.gone or self.gaps)

    @property
    def severity(self) -> str:
        """The worst of it: a severity, or ``unavailable`` where the worst is that nobody looked."""
        worst = max((e.severity for e in self.entries), key=lambda s: s.rank, default=Severity.OK)
        if worst.rank < Severity.WARNING.rank and (self.gaps or self.last_look is None):
            return "unavailable"
        return worst.value

    @property
    def headline(self) -> str:
        """All of it in one sentence. What was not looked at is never called well."""
        if self.last_look is None:
            return "Nothing has been looked at yet, so nobody can say whether all is well."
        looked = (
            f"{counted(self.looks, 'check')} of {counted(self.targets, 'target')},"
            f" the last at {self.last_look:%Y-%m-%d %H:%M %Z}"
        )
        if self.is_empty:
            return f"All is well: {looked}."
        if not self.entries and self.gaps:
            return (
                f"Nothing needs anybody in what was looked at, but {_gaps(self.gaps)} ({looked})."
            )
        if not self.entries:
            return f"All is well, and {_gone(self.gone)}: {looked}."
        parts = [self._tally]
        if self.gone:
            parts.append(_gone(self.gone))
        if self.gaps:
            parts.append(_gaps(self.gaps))
        return f"{', '.join(parts)}."

    @property
    def subject(self) -> str:
        """The subject line: the verdict, so that nobody has to open a mail that says all is well."""
        if self.last_look is None:
            said = "nothing looked at yet"
        elif self.is_empty:
            said = "all is well"
        elif not self.entries:
            said = _gaps(self.gaps) if self.gaps else _gone(self.gone)
        else:
            said = self._tally
        return f"{self.period.capitalize()} digest: {said}"

    @property
    def _tally(self) -> str:
        """How many there are of each severity, and of all how many are new; "+" where not all were counted."""
        counts: Counter[Severity] = Counter()
        for entry in self.entries:
            counts[entry.severity] += entry.alike
        # What was too much is no worse than the mildest that was read.
        open_ended = min(counts, key=lambda each: each.rank) if self.uncounted else None
        parts = [
            f"{counts[each]}{'+' * (each is open_ended)} {one if counts[each] == 1 and each is not open_ended else many}"
            for each, (one, many) in _NOUNS.items()
            if counts[each]
        ]
        new = sum(entry.alike for entry in self.new)
        if new:
            parts.append(f"{new}{'+' if self.uncounted else ''} new")
        return ", ".join(parts)

    @property
    def aside(self) -> list[str]:
        """What is neither well nor wrong, in a sentence each."""
        said = []
        if self.uncounted:
            verb = "is" if self.uncounted == 1 else "are"
            said.append(
                f"{counted(self.uncounted, 'more finding')} {verb} not counted here, none of them worse:"
                " see the list of findings."
            )
        if self.muted:
            verb = "is" if self.muted == 1 else "are"
            said.append(f"{counted(self.muted, 'finding')} {verb} muted and not listed here.")
        if self.not_yet:
            said.append(
                f"{counted(len(self.not_yet), 'check')} had no turn yet:"
                f" {listed(list(self.not_yet), MOST_NAMED)}."
            )
        return said


def _gone(gone: Sequence[Gone]) -> str:
    return f"{len(gone)} fixed"


def _gaps(gaps: Sequence[Gap]) -> str:
    return f"{counted(len(gaps), 'thing')} could not be looked at"


def grouped(entries: Iterable[Entry]) -> list[Entry]:
    """Put findings of one kind together, new ones apart, the worst first, newest of a kind named."""
    ordered = sorted(
        entries, key=lambda e: (-e.severity.rank, e.code, e.target, e.subject, e.sentence)
    )
    first: dict[tuple[Severity, str, bool], Entry] = {}
    counts: Counter[tuple[Severity, str, bool]] = Counter()
    for entry in ordered:
        key = (entry.severity, entry.code, entry.is_new)
        first.setdefault(key, entry)
        counts[key] += entry.alike
    return [
        Entry(
            e.severity,
            e.target,
            e.code,
            e.subject,
            e.sentence,
            e.advice,
            e.since,
            e.is_new,
            e.link,
            counts[key],
        )
        for key, e in first.items()
    ]
