"""Numbers in words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.reports.formatting import (
    NO_VALUE,
    counted,
    format_bytes,
    format_milliseconds,
    format_seconds,
    format_value,
    heading,
    headings,
)
from tests.golden.report_strategies import names, texts, values


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [
        (0, "0 bytes"),
        (10239, "10239 bytes"),
        (10240, "10 kB"),
        (10_485_247, "10239 kB"),
        (10_485_248, "10 MB"),
        (117_440_512, "112 MB"),
        (-117_440_512, "-112 MB"),
        (1024**3 * 10 - 1, "10 GB"),
        (2**63 - 1, "8192 PB"),
    ],
)
def test_sizes_read_as_in_psql(size_bytes: int, written: str) -> None:
    # These are answers of pg_size_pretty(bigint) on PostgreSQL 18.
    assert format_bytes(size_bytes) == written


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("size_bytes", 117_440_512, "112 MB"),
        ("wal_bytes_per_second", 117_440_512, "112 MB/s"),
        ("calls_per_second", 1200, "1,200/s"),
        ("bloat_ratio", 0.314, "31.4 %"),
        ("bloat_ratio", 0, "0.0 %"),
        ("bloat_ratio", 1, "100.0 %"),
        ("bloat_ratio", 0.0001, "<0.1 %"),
        ("hit_ratio", 0.99999, ">99.9 %"),
        ("duration_seconds", 123, "2 min 3 s"),
        ("duration_seconds", 0.34, "340 ms"),
        ("duration_seconds", 12.34, "12.3 s"),
        ("duration_seconds", 59.97, "1 min"),
        ("duration_seconds", 7200, "2 h"),
        ("duration_seconds", 86_400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
        ("duration_seconds", -5, "-5 s"),
        ("mean_ms", 0.31, "0.31 ms"),
        ("mean_ms", 153.27, "153 ms"),
        ("mean_ms", 1532.7, "1.5 s"),
        ("mean_ms", 0.0001, "<0.01 ms"),
        ("rows", 1_234_567, "1,234,567"),
        ("rows", 2**63 - 1, "9,223,372,036,854,775,807"),
        ("rows", 1.5, "1.5"),
        ("rows", 0.0004, "0.0004"),
        ("pid", 1_234_567, "1234567"),
        ("user_id", 1_234_567, "1234567"),
        ("finished_at", "2026-11-23T14:05:59+00:00", "2026-11-23 14:05 UTC"),
        ("finished_at", "yesterday", "yesterday"),
        ("enabled", True, "yes"),
        ("size_bytes", None, NO_VALUE),
        ("size_bytes", float("nan"), NO_VALUE),
        ("size_bytes", "unknown", "unknown"),
        ("columns", ["a", "b"], "a, b"),
        ("limits", {"lock_seconds": 2, "dry_run": False}, "lock: 2 s; dry run: no"),
    ],
)
def test_the_ending_of_a_name_decides_how_its_value_is_written(
    name: str, value: object, written: str
) -> None:
    assert format_value(name, value) == written


def test_times_keep_their_offset() -> None:
    moment = datetime(2026, 11, 23, 14, 5, tzinfo=timezone(timedelta(hours=1)))
    assert format_value("at", moment) == "2026-11-23 14:05 +0100"
    assert format_value("at", moment.astimezone(UTC)) == "2026-11-23 13:05 UTC"


@given(names | texts, values | st.floats())
def test_any_value_can_be_written(name: str, value: object) -> None:
    assert isinstance(format_value(name, value), str)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_larger_of_two_sizes_never_reads_smaller(one: int, other: int) -> None:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]

    def read(text: str) -> tuple[int, int]:
        number, unit = text.split()
        return units.index(unit), int(number)

    small, large = sorted((one, other))
    assert read(format_bytes(small)) <= read(format_bytes(large))


@given(st.floats(0, 1e9))
def test_durations_end_in_a_unit(seconds: float) -> None:
    assert format_seconds(seconds).split()[-1] in {"d", "h", "min", "s", "ms"}
    assert format_milliseconds(seconds * 1000).split()[-1] in {"d", "h", "min", "s", "ms"}


def test_headings_are_words_without_units() -> None:
    assert heading("last_vacuum_at") == "last vacuum at"
    assert headings(["size_bytes", "bloat_ratio", "seconds"]) == ("size", "bloat", "seconds")


def test_headings_that_would_read_the_same_keep_their_quantity() -> None:
    names = ["free_bytes", "free_ratio", "wait_seconds", "wait_bytes_per_second"]
    assert headings(names) == ("free size", "free share", "wait time", "wait rate")


def test_counts_carry_their_noun_in_the_right_number() -> None:
    assert counted(1, "warning") == "1 warning"
    assert counted(2, "query", "queries") == "2 queries"
