"""What is to be done, and what came of it.

A plan is pure data: stopping after it is the dry run and the preview. Applying turns each action
into an outcome whose verdict rests on a second measurement, not on the absence of an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What verification said about an action."""

    PLANNED = "planned"  # dry run: nothing was done
    WORKED = "worked"
    NO_GAIN = "no gain"
    BLOCKED = "blocked"
    FAILED = "failed"
    REFUSED = "refused"  # a precondition said no before anything was done


@dataclass(frozen=True, slots=True)
class Action:
    """One change, as it will be made: ``statement`` is what a person could run by hand."""

    kind: str
    subject: str
    statement: str
    reason: str
    predicted: Mapping[str, Any] = field(default_factory=dict)
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An action with its verdict, and the measurements before and after it."""

    action: Action
    verdict: Verdict
    sentence: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    duration_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": self.action.kind,
            "subject": self.action.subject,
            "statement": self.action.statement,
            "reason": self.action.reason,
            "predicted": dict(self.action.predicted),
            "undo": self.action.undo,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "before": dict(self.before),
            "after": dict(self.after),
            "duration_seconds": self.duration_seconds,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Outcome":
        """Rebuild an outcome from :meth:`to_json`."""
        action = Action(
            kind=body["kind"],
            subject=body["subject"],
            statement=body["statement"],
            reason=body["reason"],
            predicted=dict(body["predicted"]),
            undo=body["undo"],
        )
        return cls(
            action=action,
            verdict=Verdict(body["verdict"]),
            sentence=body["sentence"],
            before=dict(body["before"]),
            after=dict(body["after"]),
            duration_seconds=body["duration_seconds"],
        )


def planned(actions: tuple[Action, ...]) -> tuple[Outcome, ...]:
    """Turn a plan into the outcomes of a dry run: every verdict is ``planned``."""
    return tuple(Outcome(action=action, verdict=Verdict.PLANNED) for action in actions)
