"""A trial of a column's statistics target, and the judgement at its end. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from maintenance.core.wording import percent, seconds_in_words
from maintenance.postgres.estimates.misestimate import Effect
from maintenance.postgres.tuning.trial import Judgement

#: Estimates off by less than this factor are as good as a sample's: plans do not turn on it.
LEAST_ERROR_FACTOR = 2.0
#: A target is kept if estimates are this many times nearer than before.
WANTED_GAIN = 1.5
#: A condition and a join may take no longer to plan than before by this.
MOST_ADDED_PLANNING_MS = 2.0
#: ANALYZE of the table may not be at work for more than this part of the time.
MOST_ANALYZE_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """A target that a column was given, what was measured before and right after, and the undo.

    ``earlier`` is the column's own target before, ``None`` where the default held; ``beyond`` is the one
    that ANALYZE kept to, whose list of common values the measurements leave out. ``failure`` says why
    no statistics could be had of the new target. ``analyzes`` is what the server had counted when
    it began. Times are seconds since the epoch by the server's clock.
    """

    oid: int
    number: int
    column: str
    table: str
    earlier: int | None
    beyond: int
    target: int
    undo: str
    before: Effect
    analyzes: int
    began_at: float
    ends_at: float
    before_analyze_seconds: float = 0.0
    after: Effect | None = None
    analyze_seconds: float | None = None
    failure: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """The column, as the catalog names it."""
        return self.oid, self.number

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Trial":
        """Rebuild a trial from :meth:`to_json`."""
        after = body["after"]
        effects = {"before": Effect(**body["before"]), "after": Effect(**after) if after else None}
        return cls(**{**body, **effects})

    def with_statistics(self, after: Effect, analyze_seconds: float, now: float) -> "Trial":
        """Return the trial with what its statistics turned out to be worth; it ends where that is nothing."""
        measured = replace(self, after=after, analyze_seconds=analyze_seconds)
        judgement, _ = judge(measured, after, analyzes=0, seconds=0.0)
        return measured if judgement is Judgement.KEEP else replace(measured, ends_at=now)

    def failed(self, why: str, now: float) -> "Trial":
        """Return the trial at its end, for no statistics of the new target can be had."""
        return replace(self, failure=why, ends_at=now)


def judge(
    trial: Trial, seen: Effect | None, *, analyzes: int, seconds: float
) -> tuple[Judgement, str]:
    """Judge a trial by what is measured now; the sentence says on what it rests.

    ``analyzes`` is how often the table was analyzed in the ``seconds`` since the trial began. ``seen`` is
    ``None`` where no value beyond the earlier list is frequent enough to be measured any more.
    """
    if trial.failure:
        return Judgement.REVERT, trial.failure
    if trial.after is None and not analyzes:
        return Judgement.REVERT, "no ANALYZE has come that would have used the larger target"
    if seen is None:
        return Judgement.REVERT, "no value beyond the earlier list is frequent enough to measure"
    before = trial.before
    sentence = (
        f"estimates of values beyond the {trial.beyond} most common are off"
        f" {seen.error_factor:.1f}-fold now, {before.error_factor:.1f}-fold before; planning takes"
        f" {seen.planning_ms:.2f} ms, {before.planning_ms:.2f} ms before"
    )
    if trial.analyze_seconds is not None:
        sentence += (
            f"; ANALYZE takes {seconds_in_words(trial.analyze_seconds)},"
            f" {seconds_in_words(trial.before_analyze_seconds)} before"
        )
    if seen.planning_ms - before.planning_ms > MOST_ADDED_PLANNING_MS:
        return Judgement.REVERT, f"planning takes too much longer; {sentence}"
    if seconds > 0 and trial.analyze_seconds is not None:
        share = min(1.0, analyzes * trial.analyze_seconds / seconds)
        if analyzes > 1 and share > MOST_ANALYZE_RATIO:
            return Judgement.REVERT, f"ANALYZE is at work {percent(share)} of the time; {sentence}"
    helps = seen.error_factor * WANTED_GAIN <= before.error_factor
    return (Judgement.KEEP if helps else Judgement.REVERT), sentence
