"""What sizes and numbers are foretold: golden cases of each guard."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import YEAR_SECONDS, Point
from maintenance.core.trend import DAY_SECONDS, Outlook, outlook_of
from maintenance.postgres.capacity.exhaustion import date_clause, severity_of
from maintenance.postgres.capacity.growth import (
    Growth,
    RelationSize,
    diagnose_database,
    diagnose_tables,
    growths_of,
)
from maintenance.postgres.capacity.narrow_keys import (
    Column,
    NarrowKey,
    diagnose_narrow_keys,
)
from maintenance.postgres.capacity.sequences import SequenceState, diagnose_sequences

GB = 1024.0**3
NOW = 1_790_000_000.0
WEEK = 7 * DAY_SECONDS


def weekly(*values: float) -> Outlook:
    """What is to be expected after these weekly values, the last of them now."""
    points = [
        Point(NOW - WEEK * (len(values) - 1 - place), value) for place, value in enumerate(values)
    ]
    return outlook_of(points[:-1], points[-1])


class Remembered:
    """A history of one metric."""

    def __init__(self, series: Mapping[str, Sequence[Point]]) -> None:
        self._series = series

    def series(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Sequence[Point]:
        return self._series.get(subject, ())

    def series_by_subject(
        self,
        metric: str,
        subjects: Collection[str] | None = None,
        *,
        since_seconds: float = YEAR_SECONDS,
    ) -> Mapping[str, Sequence[Point]]:
        return {name: points for name, points in self._series.items() if name in (subjects or ())}

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        return None


def of_database(
    outlook: Outlook, size: float, limit: float | None, **thresholds: float
) -> list[Finding]:
    return list(
        diagnose_database(
            "site",
            int(size),
            outlook,
            None if limit is None else int(limit),
            Thresholds(**thresholds),
        )
    )


# --- The outlook ---


def test_one_measurement_foretells_nothing_and_says_what_is_needed() -> None:
    outlook = weekly(10)

    assert outlook.trend is None
    assert outlook.missing == "4 measurements over 14 days (so far there is 1)"


def test_after_a_fall_counting_begins_anew_and_the_day_is_kept() -> None:
    outlook = weekly(100, 110, 120, 130, 65, 66)

    assert outlook.trend is None
    assert outlook.missing == "4 measurements over 14 days (so far there are 2 over 7 days)"
    assert outlook.fell_at == NOW - WEEK
    assert weekly(100, 110, 120, 130).fell_at is None


def test_a_fall_that_is_seen_now_counts() -> None:
    outlook = weekly(100, 110, 120, 130, 20)

    assert outlook.trend is None
    assert outlook.fell_at == NOW


# --- The database ---


def test_without_a_limit_there_is_no_date() -> None:
    assert of_database(weekly(10 * GB, 11 * GB, 12 * GB, 13 * GB), 13 * GB, None) == []


def test_a_limit_that_is_met_within_the_quarter_is_a_warning_with_its_date() -> None:
    outlook = weekly(100 * GB, 110 * GB, 120 * GB, 130 * GB)

    (finding,) = of_database(outlook, 130 * GB, 200 * GB)

    assert (finding.severity, finding.subject) == (Severity.WARNING, "site")
    assert finding.sentence == (
        "The database site fills 65 % of its limit of 200 GB and reaches it about 2026-11-09."
    )
    assert finding.evidence["full_about"] == "2026-11-09"
    assert finding.evidence["weekly_growth_bytes"] == pytest.approx(10 * GB)


@pytest.mark.parametrize(
    ("limit_gb", "severity"),
    [(145, Severity.CRITICAL), (160, Severity.WARNING), (400, None), (130, Severity.CRITICAL)],
)
def test_the_nearer_the_date_the_more_serious(limit_gb: float, severity: Severity | None) -> None:
    outlook = weekly(100 * GB, 110 * GB, 120 * GB, 130 * GB)
    calm = {"disk_warning_ratio": 1.0, "disk_critical_ratio": 1.0}

    found = of_database(outlook, 130 * GB, limit_gb * GB, **calm)

    assert [f.severity for f in found] == ([] if severity is None else [severity])


def test_a_database_that_is_nearly_full_is_named_although_nothing_is_foretold() -> None:
    withheld, full = of_database(weekly(95 * GB), 95 * GB, 100 * GB)

    assert withheld.measured is False
    assert full.severity is Severity.CRITICAL
    assert full.sentence == "The database site fills 95 % of its limit of 100 GB."


def test_a_limit_that_is_reached_says_so() -> None:
    outlook = weekly(100 * GB, 110 * GB, 120 * GB, 130 * GB)
    (finding,) = of_database(outlook, 130 * GB, 130 * GB)
    assert finding.sentence.endswith("of its limit of 130 GB, which it has reached.")


def test_what_shrinks_reaches_no_limit() -> None:
    assert of_database(weekly(70 * GB, 69 * GB, 68 * GB, 67 * GB), 67 * GB, 100 * GB) == []


# --- Tables ---


def table_growth(*gigabytes: float, kind: str = "table") -> list[Finding]:
    size = int(gigabytes[-1] * GB)
    relation = RelationSize(kind, "public.events", size, is_locked=False)
    growth = Growth(relation, weekly(*(value * GB for value in gigabytes)))
    return list(diagnose_tables([growth], Thresholds()))


def test_a_table_that_grows_fast_and_by_much_is_named_with_when_it_has_doubled() -> None:
    (finding,) = table_growth(4, 6, 8, 10)

    assert finding.subject == "public.events"
    assert finding.sentence == (
        "public.events grows by 2.0 GB a week, 20 % of its 10 GB: at that rate it has doubled"
        " about 2026-10-26."
    )


@pytest.mark.parametrize(
    "sizes",
    [
        (97, 98.5, 100, 101.5),  # much, but not fast
        (0.1, 0.2, 0.3, 0.4),  # fast, but not much
        (4, 6, 8, 8, 8),  # it may as well have stopped
        (4, 6, 8),  # too few measurements
        (10, 8.9, 7.9, 7),  # it shrinks
    ],
)
def test_other_tables_are_not_named(sizes: tuple[float, ...]) -> None:
    assert table_growth(*sizes) == []


def test_an_index_is_its_tables_business() -> None:
    assert table_growth(4, 6, 8, 10, kind="index") == []


def test_sizes_are_joined_with_their_own_history_and_locked_ones_left_out() -> None:
    points = [Point(NOW - WEEK * i, 10.0 * GB - i * GB) for i in (3, 2, 1)]
    relations = [
        RelationSize("table", "public.a", int(10 * GB), is_locked=False),
        RelationSize("table", "public.b", int(10 * GB), is_locked=False),
        RelationSize("table", "public.c", int(10 * GB), is_locked=True),
    ]

    growths = growths_of(relations, Remembered({"public.a": points, "public.c": points}), NOW)

    by_name = {growth.relation.qualified_name: growth.weekly_bytes for growth in growths}
    assert by_name == {"public.a": pytest.approx(GB), "public.b": None}


# --- Numbers ---


SEQUENCE = SequenceState(
    oid=1,
    schema="public",
    name="s",
    qualified_name="public.s",
    minimum=1,
    maximum=1000,
    increment=1,
    cycles=False,
    type_name="bigint",
    is_locked=False,
    may_read_value=True,
    may_select=True,
    last_value=800,
    columns=(),
)


def test_a_sequence_near_its_end_has_a_date() -> None:
    (finding,) = diagnose_sequences([SEQUENCE], {"public.s": weekly(0.77, 0.78, 0.79, 0.80)})

    assert finding.severity is Severity.WARNING
    assert finding.sentence == (
        "public.s has used 80 % of its numbers: 200 more fit into the sequence (bigint), then"
        " inserts fail; at 1 a day that is about 2027-02-08."
    )
    assert finding.evidence["ends_about"] == "2027-02-08"


def test_without_history_the_finding_says_what_a_date_needs() -> None:
    (finding,) = diagnose_sequences([SEQUENCE], {"public.s": weekly(0.8)})
    assert finding.sentence.endswith(
        "then inserts fail; a date needs 4 measurements over 14 days (so far there is 1)."
    )


def test_a_sequence_that_is_far_from_its_end_but_fast_is_named() -> None:
    state = replace(SEQUENCE, last_value=400)
    fast = weekly(0.1, 0.2, 0.3, 0.4)

    (finding,) = diagnose_sequences([state], {"public.s": fast})

    assert finding.severity is Severity.WARNING
    assert list(diagnose_sequences([state], {"public.s": weekly(0.397, 0.398, 0.399, 0.4)})) == []
    assert list(diagnose_sequences([replace(state, cycles=True)], {"public.s": fast})) == []


@pytest.mark.parametrize(
    ("ratio", "outlook", "severity"),
    [
        (0.75, None, None),
        (0.76, None, Severity.WARNING),
        (0.91, None, Severity.CRITICAL),
        (0.7, weekly(0.1, 0.3, 0.5, 0.7), Severity.CRITICAL),  # in a week and a half
        (0.7, weekly(0.67, 0.68, 0.69, 0.7), None),  # in 30 weeks
        (0.2, weekly(0.5, 0.4, 0.3, 0.2), None),
    ],
)
def test_fullness_and_date_both_decide(
    ratio: float, outlook: Outlook | None, severity: Severity | None
) -> None:
    assert severity_of(ratio, outlook) is severity


def test_what_does_not_move_has_no_date() -> None:
    assert date_clause(weekly(0.8, 0.8, 0.8, 0.8), 1000) == (
        "; at its present rate that is more than ten years away"
    )


PARENT = Column(
    schema="public",
    table="book",
    name="id",
    qualified_name="public.book.id",
    type_name="bigint",
    is_indexed=True,
    may_select=True,
    is_row_security_active=False,
    is_locked=False,
)


def test_a_reference_that_is_narrower_than_its_key_is_named_before_the_key_outgrows_it() -> None:
    key = NarrowKey("public.loan.book_id", "integer", PARENT, 1_900_000_000)

    (finding,) = diagnose_narrow_keys([key], {})

    assert finding.severity is Severity.WARNING
    assert finding.subject == "public.loan.book_id"
    assert finding.sentence == (
        "public.loan.book_id (integer) refers to public.book.id (bigint), which has used 88 % of"
        " the numbers that fit, up to 2,147,483,647: beyond it, new rows cannot be referred to."
    )


def test_references_with_time_left_share_one_finding_and_keys_with_time_left_have_none() -> None:
    keys = [
        NarrowKey("public.loan.book_id", "integer", PARENT, 21_474_836),
        NarrowKey("public.hold.book_id", "integer", PARENT, None),
        NarrowKey("public.code.id", "integer", None, 5),
    ]

    (finding,) = diagnose_narrow_keys(keys, {})

    assert finding.severity is Severity.INFO
    assert finding.sentence == (
        "2 foreign key columns are of a narrower type than the key referred to:"
        " public.loan.book_id, public.hold.book_id; the furthest has used 1.0 % of what fits."
    )


def test_a_key_beyond_what_its_reference_holds_is_full_and_not_more() -> None:
    key = NarrowKey("public.loan.book_id", "smallint", PARENT, 100_000)
    (finding,) = diagnose_narrow_keys([key], {})
    assert finding.severity is Severity.CRITICAL
    assert "has used 100 % of the numbers" in finding.sentence
