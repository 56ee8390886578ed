"""The life of a finding: new, persisting since when, fixed, muted. Pure.

A run that looked and found nothing of it says that a finding is gone. One that failed, that had other
options, or that could not measure its kind says nothing, neither that it is gone nor that it stayed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any

from maintenance.core.findings import Severity

#: So many runs back is asked before a finding counts as new: more runs that could not tell in a row are
#: no memory of anything.
LOOKS_BACK = 10


@dataclass(frozen=True, slots=True)
class Sight:
    """One finding as one run saw it. ``since`` is from when on it was seen by every run that could."""

    fingerprint: str
    code: str
    severity: Severity
    subject: str
    sentence: str
    found_at: datetime
    measured: bool = True
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one run of a task on a target found. ``succeeded`` is false where it could not look."""

    succeeded: bool
    options: Mapping[str, Any]
    sights: Sequence[Sight] = ()

    def sight(self, fingerprint: str) -> Sight | None:
        """Return a finding of this look; the worst where one subject has several of a kind."""
        fitting = [sight for sight in self.sights if sight.fingerprint == fingerprint]
        return max(fitting, key=lambda sight: (sight.measured, sight.severity.rank), default=None)

    def rules_out(self, sight: Sight, other: "Look") -> bool:
        """Tell whether this look says that ``sight``, of the look ``other``, was not there."""
        if not self.succeeded or dict(self.options) != dict(other.options):
            return False
        if self.sight(sight.fingerprint) is not None:
            return False
        kin = [each for each in self.sights if each.code == sight.code]
        if any(each.measured for each in kin):
            return True
        # What could not be measured in both looks says nothing of the others of its kind.
        known = {each.fingerprint for each in other.sights if not each.measured}
        return all(each.fingerprint in known for each in kin)

    @property
    def says_all(self) -> bool:
        """Whether it can tell of every finding."""
        return self.succeeded and all(sight.measured for sight in self.sights)


@dataclass(frozen=True, slots=True)
class Settled:
    """Since when each finding of a look is there, by fingerprint, and what is there no more."""

    since: Mapping[str, datetime]
    fixed: tuple[Sight, ...] = ()


def settle(current: Look, earlier: Iterable[Look]) -> Settled:
    """Compare a look with those before it, newest first; no more of them are read than it takes."""
    since: dict[str, datetime] = {}
    open_since = {sight.fingerprint: sight for sight in current.sights}
    fixed: list[Sight] = []
    passed: list[Look] = []
    for look in islice(earlier, LOOKS_BACK):
        for fingerprint in list(open_since):
            sight = current.sight(fingerprint)
            assert sight is not None
            before = look.sight(fingerprint)
            if before is not None and before.measured == sight.measured:
                since[fingerprint] = before.since or before.found_at
                del open_since[fingerprint]
            elif look.rules_out(sight, current):
                since[fingerprint] = sight.found_at
                del open_since[fingerprint]
        fixed += _fixed(current, look, passed)
        passed.append(look)
        if not open_since and look.says_all and dict(look.options) == dict(current.options):
            break
    for fingerprint, sight in open_since.items():
        since[fingerprint] = sight.found_at
    return Settled(since, tuple(fixed))


def _fixed(current: Look, look: Look, between: Sequence[Look]) -> list[Sight]:
    """Return the findings of ``look`` that ``current`` is the first to miss, worst first."""
    found: dict[str, Sight] = {}
    for sight in look.sights:
        known = any(
            each.sight(sight.fingerprint) is not None or each.rules_out(sight, look)
            for each in between
        )
        if not known and needs_somebody(sight) and current.rules_out(sight, look):
            found.setdefault(sight.fingerprint, sight)
    return sorted(found.values(), key=lambda s: (-s.severity.rank, s.code, s.subject))


def needs_somebody(sight: Sight) -> bool:
    """Tell whether a finding is more than a note: of notes nobody is told that they are gone."""
    return sight.measured and sight.severity.rank >= Severity.WARNING.rank


@dataclass(frozen=True, slots=True)
class Mute:
    """Somebody does not want to be told of a finding. ``until`` is ``None`` for good.

    ``severity`` is what it was then: one that gets worse speaks again.
    """

    severity: Severity
    reason: str
    by: str
    until: datetime | None = None

    def silences(self, severity: Severity, now: datetime) -> bool:
        """Tell whether a finding of ``severity`` counts for nothing now."""
        lasts = self.until is None or self.until > now
        return lasts and severity.rank <= self.severity.rank

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "severity": self.severity.value,
            "reason": self.reason,
            "by": self.by,
            "until": self.until.isoformat() if self.until else None,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Mute":
        """Rebuild from :meth:`to_json`."""
        until = datetime.fromisoformat(body["until"]) if body["until"] else None
        return cls(Severity(body["severity"]), body["reason"], body["by"], until)


@dataclass(frozen=True, slots=True)
class FixedFinding:
    """A finding that is there no more."""

    code: str
    severity: Severity
    subject: str
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "subject": self.subject,
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "FixedFinding":
        """Rebuild from :meth:`to_json`."""
        return cls(body["code"], Severity(body["severity"]), body["subject"], body["sentence"])

    @classmethod
    def of(cls, sight: Sight) -> "FixedFinding":
        """Return what a report keeps of a finding that is gone."""
        return cls(sight.code, sight.severity, sight.subject, sight.sentence)


@dataclass(frozen=True, slots=True)
class ReportLife:
    """What a report says of its findings' lives, by fingerprint. ``at`` is when its run ended."""

    at: datetime
    since: Mapping[str, datetime] = field(default_factory=dict)
    fixed: tuple[FixedFinding, ...] = ()
    muted: Mapping[str, Mute] = field(default_factory=dict)

    def is_muted(self, fingerprint: str, severity: Severity) -> bool:
        """Tell whether a finding counted for nothing when the report was made."""
        mute = self.muted.get(fingerprint)
        return mute is not None and mute.silences(severity, self.at)

    def in_timezone(self, timezone: tzinfo) -> "ReportLife":
        """Return the same with its times in ``timezone``."""
        muted = {
            name: Mute(
                mute.severity,
                mute.reason,
                mute.by,
                mute.until.astimezone(timezone) if mute.until else None,
            )
            for name, mute in self.muted.items()
        }
        since = {name: moment.astimezone(timezone) for name, moment in self.since.items()}
        return ReportLife(self.at.astimezone(timezone), since, self.fixed, muted)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; times as ISO 8601 with offset."""
        return {
            "at": self.at.isoformat(),
            "since": {name: moment.isoformat() for name, moment in sorted(self.since.items())},
            "fixed": [each.to_json() for each in self.fixed],
            "muted": {name: mute.to_json() for name, mute in sorted(self.muted.items())},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "ReportLife":
        """Rebuild from :meth:`to_json`."""
        return cls(
            at=datetime.fromisoformat(body["at"]),
            since={n: datetime.fromisoformat(moment) for n, moment in body["since"].items()},
            fixed=tuple(FixedFinding.from_json(each) for each in body["fixed"]),
            muted={name: Mute.from_json(each) for name, each in body["muted"].items()},
        )
