"""A trial of a table's settings, and the judgement at its end. Pure.

What counts is how many rows wait for one VACUUM or ANALYZE: the rows changed in a time, over the
runs in that time, before and since. Counters begin anew after a reset or a crash, and say nothing of
the time before.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from maintenance.core.wording import counted, percent, seconds_in_words

#: A change is kept if no more than this part of the rows of before wait for a run.
WANTED_RATIO = 0.7
#: More often than every half hour the work itself is felt.
MOST_RUNS_PER_DAY = 48.0
#: Of 18 and later the server says how long autovacuum was at work on a table.
MOST_TIME_RATIO = 0.25
#: What was counted before has to cover a day of the site.
SHORTEST_BEFORE_SECONDS = 86_400.0

#: What each setting is judged by: the rows that wait, and the runs that they wait for.
_JUDGED_BY = {
    "autovacuum_vacuum_scale_factor": (("rewritten_rows",), "vacuums", "dead row"),
    "autovacuum_vacuum_insert_scale_factor": (("inserted_rows",), "vacuums", "inserted row"),
    "autovacuum_vacuum_insert_threshold": (("inserted_rows",), "vacuums", "inserted row"),
    "autovacuum_analyze_scale_factor": (
        ("rewritten_rows", "inserted_rows"),
        "analyzes",
        "changed row",
    ),
}


#: Counters that only grow, until they begin anew.
_COUNTERS = ("rewritten_rows", "inserted_rows", "vacuums", "analyzes")

#: How a statement of a trial begins: with the table's name as psycopg2 quotes it.
_ALTER_TABLE = re.compile(r'ALTER TABLE (?:"(?:[^"]|"")*"\.)?"(?:[^"]|"")*"')


class Judgement(StrEnum):
    """How a trial ends."""

    KEEP = "keep"
    REVERT = "revert"
    GO_ON = "go on"


def ends_in_words(judged: Sequence[Judgement], words: Mapping[Judgement, str]) -> list[str]:
    """Say how many trials end in which way: ``["2 kept", "1 taken back"]``."""
    return [f"{judged.count(one)} {said}" for one, said in words.items() if one in judged]


@dataclass(frozen=True, slots=True)
class Activity:
    """What happened to a table in ``seconds``. ``vacuum_seconds`` is known from 18 on."""

    seconds: float
    rewritten_rows: int
    inserted_rows: int
    vacuums: int
    analyzes: int
    vacuum_seconds: float | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], seconds: float) -> "Activity":
        """Build from a row of ``sql/table_activity.sql``, counted in the last ``seconds``."""
        names = ("rewritten_rows", "inserted_rows", "vacuums", "analyzes", "vacuum_seconds")
        return cls(seconds, **{name: row[name] for name in names})

    def since(self, earlier: "Activity", anew_seconds: float | None = None) -> "Activity":
        """Return what happened after ``earlier``, all of it where the counters began anew.

        They count from the beginning where any of them has shrunk: for ``anew_seconds`` where that is
        known, and for no longer than the time after ``earlier``.
        """
        if self.seconds < earlier.seconds:
            return self
        seconds = self.seconds - earlier.seconds
        if any(getattr(self, name) < getattr(earlier, name) for name in _COUNTERS):
            return replace(
                self, seconds=min(seconds, seconds if anew_seconds is None else anew_seconds)
            )
        known = self.vacuum_seconds is not None and earlier.vacuum_seconds is not None
        return Activity(
            seconds,
            self.rewritten_rows - earlier.rewritten_rows,
            self.inserted_rows - earlier.inserted_rows,
            self.vacuums - earlier.vacuums,
            self.analyzes - earlier.analyzes,
            (self.vacuum_seconds or 0) - (earlier.vacuum_seconds or 0) if known else None,
        )

    def rows(self, names: Sequence[str]) -> int:
        """Return the sum of some counters of rows."""
        return sum(int(getattr(self, name)) for name in names)


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that a table was given, what was counted before, and how to take them back.

    Times are seconds since the epoch by the server's clock.
    """

    oid: int
    table: str
    settings: Mapping[str, float]
    undo: str
    before: Activity
    began_at: float
    ends_at: float
    extended: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Trial":
        """Rebuild a trial from :meth:`to_json`."""
        return cls(**{**body, "before": Activity(**body["before"])})

    def still_stands(self, storage_parameters: Sequence[str]) -> bool:
        """Tell whether the table still has the settings of the trial, and not those of somebody."""
        return len(self._standing(storage_parameters)) == len(self.settings)

    def is_gone(self, storage_parameters: Sequence[str]) -> bool:
        """Tell whether the table has no setting of the trial any more."""
        return not self._standing(storage_parameters)

    def _standing(self, storage_parameters: Sequence[str]) -> list[str]:
        present = dict(option.split("=", 1) for option in storage_parameters)
        return [
            name
            for name, value in self.settings.items()
            if name in present and float(present[name]) == value
        ]

    def named(self, table: str, quoted: str) -> "Trial":
        """Return the trial of its table under the name that it has now: it may have been renamed.

        ``quoted`` stands for it in the statement that takes the settings back.
        """
        undo = _ALTER_TABLE.sub(lambda _: f"ALTER TABLE {quoted}", self.undo, count=1)
        return replace(self, table=table, undo=undo)

    def prolonged(self, now: float) -> "Trial":
        """Return the trial with as much time again."""
        return replace(self, ends_at=now + (self.ends_at - self.began_at), extended=True)


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Settings of a table that did not help: they are not tried again soon."""

    oid: int
    settings: Mapping[str, float]
    at: float

    def forbids(self, oid: int, settings: Mapping[str, float]) -> bool:
        """Tell whether these are the settings that did not help that table."""
        return self.oid == oid and dict(self.settings) == dict(settings)


def judge(trial: Trial, after: Activity) -> tuple[Judgement, str]:
    """Judge a trial by what happened since it began; the sentence says on what it rests."""
    verdicts = [_judged(name, trial.before, after) for name in trial.settings]
    sentence = "; ".join(words for _, words in verdicts)
    burden = _burden(after)
    if burden:
        return Judgement.REVERT, f"{burden}; {sentence}"
    found = {judgement for judgement, _ in verdicts}
    if Judgement.GO_ON in found:
        if trial.extended:
            return Judgement.REVERT, f"{sentence}, also after as much time again"
        return Judgement.GO_ON, sentence
    return (Judgement.REVERT if Judgement.REVERT in found else Judgement.KEEP), sentence


def _burden(after: Activity) -> str:
    """Say that autovacuum has become a load itself; empty where it has not."""
    if after.seconds <= 0:
        return ""
    per_day = max(after.vacuums, after.analyzes) / (after.seconds / 86_400)
    if per_day > MOST_RUNS_PER_DAY:
        return f"autovacuum came {per_day:.0f} times a day, which is felt itself"
    if after.vacuum_seconds is not None and after.vacuum_seconds / after.seconds > MOST_TIME_RATIO:
        return f"autovacuum was at work on it {percent(after.vacuum_seconds / after.seconds)} of the time"
    return ""


def _judged(setting: str, before: Activity, after: Activity) -> tuple[Judgement, str]:
    names, runs, noun = _JUDGED_BY[setting]
    statement = "VACUUM" if runs == "vacuums" else "ANALYZE"
    came = int(getattr(after, runs))
    if not came:
        changed = after.rows(names)
        return Judgement.GO_ON, (
            f"no {statement} has come in {seconds_in_words(after.seconds)}, with"
            f" {counted(changed, noun)}"
        )
    then = before.rows(names) / max(1, int(getattr(before, runs)))
    now = after.rows(names) / came
    sentence = f"{counted(round(now), noun)} wait for a {statement} now, {round(then):,} did before"
    return (Judgement.KEEP if now <= WANTED_RATIO * then else Judgement.REVERT), sentence
