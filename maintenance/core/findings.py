"""What a diagnosis says: one finding is one sentence with its evidence and its advice."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a finding matters, from nothing to do up to act now."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position in the order of seriousness: 0 is ``ok``, 3 is ``critical``."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict about one subject.

    ``code`` is stable and names the kind of finding (``table-bloat``); ``subject`` is what it is
    about (``public.library_status``). ``evidence`` holds plain JSON values whose names carry
    units (``_bytes``, ``_seconds``, ``_ratio``). ``commands`` can be copied and run by a person,
    ``undo`` takes them back. ``measured`` is false where rights, statistics or a short window
    could not support a number: then ``sentence`` begins with ``unavailable:``. ``repeated`` is one that
    stands in another task's report as well: it is read there, and neither listed, muted nor told twice.
    """

    code: str
    severity: Severity
    subject: str
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    commands: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    runbook: str = ""
    measured: bool = True
    repeated: bool = False

    def fingerprint(self, target: str) -> str:
        """Identify the same finding across runs: 16 hexadecimal digits of (target, code, subject)."""
        text = f"{target}\x00{self.code}\x00{self.subject}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``repeated`` only where it is."""
        return {
            **({"repeated": True} if self.repeated else {}),
            "code": self.code,
            "severity": self.severity.value,
            "subject": self.subject,
            "sentence": self.sentence,
            "evidence": dict(self.evidence),
            "advice": self.advice,
            "commands": list(self.commands),
            "undo": list(self.undo),
            "runbook": self.runbook,
            "measured": self.measured,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Finding":
        """Rebuild a finding from :meth:`to_json`."""
        return cls(
            code=body["code"],
            severity=Severity(body["severity"]),
            subject=body["subject"],
            sentence=body["sentence"],
            evidence=dict(body["evidence"]),
            advice=body["advice"],
            commands=tuple(body["commands"]),
            undo=tuple(body["undo"]),
            runbook=body["runbook"],
            measured=body["measured"],
            repeated=body.get("repeated", False),
        )


def unavailable(code: str, subject: str, what: str, needs: str) -> Finding:
    """Say that ``what`` could not be measured and what it ``needs`` (a GRANT, an extension, time)."""
    return Finding(
        code=code,
        severity=Severity.INFO,
        subject=subject,
        sentence=f"unavailable: {what} needs {needs}",
        advice=f"Provide {needs}, then run this again.",
        measured=False,
    )


def worst_severity(findings: Iterable[Finding]) -> Severity:
    """Return the most serious severity, ``ok`` where there is no finding."""
    return max((f.severity for f in findings), key=lambda s: s.rank, default=Severity.OK)


def by_seriousness(findings: Iterable[Finding]) -> list[Finding]:
    """Sort worst first, then by subject, so that two equal runs print the same order."""
    return sorted(findings, key=lambda f: (-f.severity.rank, f.code, f.subject))
