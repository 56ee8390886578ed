"""The life of a finding: since when it is there, and what is fixed."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.core.finding_life import (
    LOOKS_BACK,
    FixedFinding,
    Look,
    Mute,
    ReportLife,
    Sight,
    settle,
)
from maintenance.core.findings import Severity

START = datetime(2026, 11, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def sight(
    subject: str,
    number: int = 0,
    *,
    code: str = "bloat",
    severity: Severity = Severity.WARNING,
    measured: bool = True,
    since: datetime | None = None,
) -> Sight:
    """A finding that the run of day ``number`` made; its fingerprint is code and subject."""
    return Sight(
        f"{code} {subject}",
        code,
        severity,
        subject,
        f"{subject} is off.",
        day(number),
        measured,
        since,
    )


def look(*sights: Sight, succeeded: bool = True, options: dict[str, object] | None = None) -> Look:
    return Look(succeeded, options or {}, sights)


def since_of(current: Look, *earlier: Look) -> dict[str, datetime]:
    return dict(settle(current, earlier).since)


def fixed_of(current: Look, *earlier: Look) -> list[str]:
    return [each.subject for each in settle(current, earlier).fixed]


def test_a_finding_without_a_run_before_is_new() -> None:
    assert since_of(look(sight("a", 3))) == {"bloat a": day(3)}


def test_a_finding_persists_since_the_first_run_that_found_it() -> None:
    assert since_of(look(sight("a", 3)), look(sight("a", 2, since=day(1)))) == {"bloat a": day(1)}


def test_a_finding_that_was_gone_in_between_is_new() -> None:
    assert since_of(look(sight("a", 3)), look(), look(sight("a", 1))) == {"bloat a": day(3)}


def test_a_failed_run_in_between_says_nothing() -> None:
    failed = look(sight("site", 2, code="run-failed", severity=Severity.CRITICAL), succeeded=False)

    assert since_of(look(sight("a", 3)), failed, look(sight("a", 1))) == {"bloat a": day(1)}
    assert fixed_of(look(sight("a", 3)), failed, look(sight("a", 1))) == ["site"]


def test_a_failed_run_fixes_nothing() -> None:
    failed = look(sight("site", 3, code="run-failed"), succeeded=False)

    assert fixed_of(failed, look(sight("a", 2))) == []


def test_a_run_with_other_options_says_nothing_of_what_it_does_not_find() -> None:
    narrow = look(options={"parts": ["b"]})

    assert fixed_of(narrow, look(sight("a", 2))) == []
    assert since_of(look(sight("a", 3)), narrow, look(sight("a", 1))) == {"bloat a": day(1)}


def test_what_could_not_be_measured_is_neither_fixed_nor_new_afterwards() -> None:
    blind = look(sight("database", 2, measured=False, severity=Severity.INFO))

    assert fixed_of(blind, look(sight("a", 1))) == []
    assert since_of(look(sight("a", 3)), blind, look(sight("a", 1))) == {"bloat a": day(1)}


def test_one_subject_that_can_never_be_measured_hides_no_fix_of_the_others() -> None:
    secret = sight("secret", 2, measured=False, severity=Severity.INFO)

    assert fixed_of(look(secret), look(secret, sight("a", 1))) == ["a"]


def test_a_subject_that_became_unmeasurable_is_not_fixed() -> None:
    unmeasured = look(sight("a", 2, measured=False, severity=Severity.INFO))

    assert fixed_of(unmeasured, look(sight("a", 1, severity=Severity.CRITICAL))) == []


def test_what_is_fixed_is_told_once_and_notes_never() -> None:
    note = sight("b", 1, severity=Severity.INFO)

    assert fixed_of(look(), look(sight("a", 2), note), look(sight("a", 1))) == ["a"]
    assert fixed_of(look(), look(), look(sight("a", 1))) == []


def test_no_more_looks_are_read_than_it_takes() -> None:
    read: list[Look] = []

    def reading(looks: Iterable[Look]) -> Iterator[Look]:
        for each in looks:
            read.append(each)
            yield each

    settle(look(sight("a", 3)), reading([look(sight("a", 2)), look(sight("a", 1))]))
    assert len(read) == 1

    read.clear()
    failed = look(succeeded=False)
    settle(look(sight("a", 3)), reading([failed] * 30))
    assert len(read) == LOOKS_BACK


subjects = st.sampled_from("abc")
sights = st.builds(
    sight,
    subjects,
    st.integers(0, 9),
    severity=st.sampled_from(list(Severity)),
    measured=st.booleans(),
)
looks = st.builds(
    lambda found, succeeded, wide: Look(succeeded, {"wide": wide}, tuple(found)),
    st.lists(sights, max_size=4, unique_by=lambda each: each.fingerprint),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=50)
@given(looks, st.lists(looks, max_size=4))
def test_whatever_was_found_no_life_contradicts_itself(current: Look, earlier: list[Look]) -> None:
    settled = settle(current, earlier)

    assert set(settled.since) == {each.fingerprint for each in current.sights}
    fixed = [each.fingerprint for each in settled.fixed]
    assert len(fixed) == len(set(fixed))
    assert not set(fixed) & set(settled.since)
    assert current.succeeded or not fixed
    assert all(each.severity.rank >= Severity.WARNING.rank for each in settled.fixed)
    moments = {each.found_at for one in [current, *earlier] for each in one.sights}
    assert set(settled.since.values()) <= moments


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_told_run_by_run_it_is_the_longest_unbroken_row(history: list[bool]) -> None:
    """Since when is carried from run to run, and is right however long the row is."""
    stored: list[Look] = []
    for number, is_there in enumerate(history):
        current = look(sight("a", number)) if is_there else look()
        since = settle(current, list(reversed(stored))).since
        stored.append(look(sight("a", number, since=since["bloat a"])) if is_there else look())
    if history[-1]:
        unbroken = len(history) - [*reversed(history), False].index(False)
        assert stored[-1].sights[0].since == day(unbroken)


def test_a_mute_ends_and_does_not_silence_what_gets_worse() -> None:
    mute = Mute(Severity.WARNING, "known", "ann", day(5))

    assert mute.silences(Severity.WARNING, day(4))
    assert not mute.silences(Severity.CRITICAL, day(4))
    assert not mute.silences(Severity.WARNING, day(5))
    assert Mute(Severity.WARNING, "known", "ann").silences(Severity.INFO, day(5000))


def test_the_life_of_a_report_survives_json() -> None:
    life = ReportLife(
        day(3),
        {"bloat a": day(1)},
        (FixedFinding.of(sight("b", 2)),),
        {"bloat a": Mute(Severity.WARNING, "known", "ann", day(9))},
    )

    assert ReportLife.from_json(life.to_json()) == life
    assert life.is_muted("bloat a", Severity.WARNING)
    assert not life.is_muted("bloat a", Severity.CRITICAL)
