"""Plain values without secrets."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given

from maintenance.core.findings import Severity
from maintenance.core.reports import Report, Table
from maintenance.reports.plain import plain, plain_report
from tests.golden.report_strategies import values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal(12), 12),
        (Decimal("0.5"), 0.5),
        (Decimal("NaN"), None),
        (float("inf"), None),
        (timedelta(minutes=2), 120.0),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23T00:00:00+00:00"),
        (date(2026, 11, 23), "2026-11-23"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (Severity.OK, "ok"),
        ((1, 2), [1, 2]),
        ({3, 1}, [1, 3]),
        ("a\x00b", "a\\x00b"),
        ("\udcff", "\\udcff"),
        ({1: "a"}, {"1": "a"}),
        (True, True),
    ],
)
def test_values_of_the_database_become_values_of_json(value: object, expected: object) -> None:
    assert plain(value) == expected


def test_a_value_without_a_plain_form_is_named() -> None:
    with pytest.raises(TypeError, match='a object under "where"'):
        plain({"where": object()})


@given(values)
def test_plain_values_stay_as_they_are(value: object) -> None:
    assert plain(plain(value)) == plain(value)


def test_a_secret_is_known_by_its_name_or_its_form() -> None:
    report = Report(
        title="redis://:s3cret@cache:6379/0",
        summary="password=s3cret",
        facts={"requirepass": "s3cret", "site": {"api_token": ["s3cret"]}, "token": None},
        tables=(Table("T", ("user", "password"), (("bob", "s3cret"), ("eve", None))),),
    )
    clean = plain_report(report)
    assert "s3cret" not in repr(clean)
    assert clean.title == "redis://:***@cache:6379/0"
    assert clean.facts == {"requirepass": "***", "site": {"api_token": "***"}, "token": None}
    assert clean.tables[0].rows == (("bob", "***"), ("eve", None))
