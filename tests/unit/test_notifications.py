"""What is said, how often, and how it looks: the pure parts of messages."""

import struct
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import parse_configuration
from maintenance.core.errors import ConfigurationError
from maintenance.core.findings import Severity
from maintenance.key_metrics.pictures import bars_of, png_of
from maintenance.key_metrics.sparkline import sparkline
from maintenance.notifications.digest import Digest, Entry, Gap, Gone, grouped
from maintenance.notifications.digest_message import digest_message
from maintenance.notifications.message import Message
from maintenance.notifications.pacing import HOUR, Waiting, allot, is_given_up, pause_after

NOW = datetime(2026, 11, 26, 7, 45, tzinfo=UTC)


def entry(subject: str, severity: Severity = Severity.WARNING, *, is_new: bool = True) -> Entry:
    since = NOW - timedelta(hours=1 if is_new else 100)
    return Entry(
        severity, "site", "bloat", subject, f"{subject} is off.", "Mend it.", since, is_new
    )


def digest(*entries: Entry, gone: int = 0, gaps: int = 0, looks: int = 9) -> Digest:
    return Digest(
        period="daily",
        since=NOW - timedelta(days=1),
        until=NOW,
        entries=grouped(entries),
        gone=[Gone(Severity.WARNING, "site", f"gone {n}") for n in range(gone)],
        gaps=[Gap(f"gap {n}") for n in range(gaps)],
        looks=looks,
        targets=2,
        last_look=NOW - timedelta(minutes=15) if looks else None,
    )


# --- What a digest says ---


def test_the_headline_says_all_of_it() -> None:
    looked = "9 checks of 2 targets, the last at 2026-11-26 07:30 UTC"

    assert digest().headline == f"All is well: {looked}."
    assert digest(gone=1).headline == f"All is well, and 1 fixed: {looked}."
    assert digest(gaps=2).headline == (
        f"Nothing needs anybody in what was looked at, but 2 things could not be looked at ({looked})."
    )
    mixed = digest(entry("a"), entry("b", Severity.CRITICAL, is_new=False), gone=2, gaps=1)
    assert mixed.headline == (
        "1 critical, 1 warning, 1 new, 2 fixed, 1 thing could not be looked at."
    )


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_all_is_well_is_said_only_where_everything_was_looked_at(
    entries: int, gone: int, gaps: int, looks: int
) -> None:
    found = digest(*(entry(str(n)) for n in range(entries)), gone=gone, gaps=gaps, looks=looks)

    is_well = not entries and not gaps and looks > 0
    assert found.headline.startswith("All is well") == is_well
    assert (found.severity == "ok") == is_well
    if "all is well" in found.subject:
        assert is_well


def test_findings_of_a_kind_are_one_and_new_ones_stay_apart() -> None:
    found = grouped([entry("b"), entry("a"), entry("c", is_new=False)])

    assert [(each.subject, each.alike, each.is_new) for each in found] == [
        ("a", 2, True),
        ("c", 1, False),
    ]


def test_both_parts_of_a_mail_say_the_same_and_markup_stays_text() -> None:
    odd = "<b>&{{ x }}%s</b>"
    message = digest_message(digest(entry(odd), gone=1, gaps=1), {})

    for part in (message.text, message.html):
        assert "gone 0" in part
        assert "gap 0" in part
    assert f"{odd} is off." in message.text
    assert "<b>&" not in message.html
    assert "&lt;b&gt;&amp;{{ x }}%s&lt;/b&gt; is off." in message.html
    assert "<style" not in message.html
    assert "http" not in message.html
    assert Message.from_json(message.to_json()) == message


# --- How often ---

waiting = st.lists(
    st.builds(
        Waiting,
        st.uuids(),
        st.integers(0, 3),
        st.datetimes(datetime(2026, 11, 1), datetime(2026, 11, 26)),  # noqa: DTZ001 - compared only
    ),
    max_size=30,
    unique_by=lambda each: each.id,
)


@given(
    waiting,
    st.integers(1, 12),
    st.integers(0, 20),
    st.none() | st.timedeltas(timedelta(0), timedelta(hours=3)),
)
def test_no_channel_gets_more_than_the_cap_and_nothing_is_lost(
    due: list[Waiting], cap: int, sent: int, since_summary: timedelta | None
) -> None:
    last = None if since_summary is None else NOW - since_summary
    allotment = allot(due, cap, sent, last, NOW)

    assert sent + len(allotment.single) <= max(cap, sent)
    together = [*allotment.single, *allotment.summed_up, *allotment.held]
    assert sorted(map(str, together)) == sorted(map(str, due))
    if allotment.summed_up:
        assert last is None or NOW - last >= HOUR
    if allotment.held:
        assert last is not None
        assert allotment.wait_until == last + HOUR
    rest = [*allotment.summed_up, *allotment.held]
    if rest and allotment.single:
        assert min(e.rank for e in allotment.single) >= max(e.rank for e in rest)


def test_pauses_double_up_to_an_hour_and_end_after_a_day() -> None:
    minutes = [pause_after(n).total_seconds() / 60 for n in (1, 2, 3, 6, 7, 60)]

    assert minutes == [1, 2, 4, 32, 60, 60]
    assert not is_given_up(NOW - timedelta(hours=23), NOW)
    assert is_given_up(NOW - timedelta(hours=24), NOW)


# --- Pictures ---


def test_a_line_is_a_png_that_any_reader_opens() -> None:
    line = sparkline([(0, 1.0), (20, 5.0), (39, 2.0)], 39, limit=4.0)
    content = png_of(line)

    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (240, 56)
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    rows = zlib.decompress(content[start + 4 : start + 4 + length])
    assert len(rows) == 56 * (1 + 3 * 240)
    assert rows.count(b"\xff\xff\xff") > 2000
    assert bytes((32, 80, 103)) in rows
    assert content.endswith(struct.pack(">I", zlib.crc32(b"IEND")))


def test_signs_show_where_a_line_is_high() -> None:
    signs = bars_of(sparkline([(n, float(n)) for n in range(40)], 39))

    assert list(signs) == sorted(signs)
    assert signs[0] == "▁"
    assert signs[-1] == "█"


# --- Configuration ---


def test_channels_are_mail_and_each_apprise_target() -> None:
    given = {"recipients": ["a@example.org"], "apprise": {"chat": "env:CHAT", "ant": "env:ANT"}}
    settings = parse_configuration({"notifications": given}).notifications

    assert settings.channels == ("mail", "apprise.ant", "apprise.chat")
    assert parse_configuration({}).notifications.channels == ()


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"recipients": ["nobody"]}, "notifications.recipients.0"),
        ({"recipients": ["a@b.c, d@e.f"]}, "notifications.recipients.0"),
        ({"apprise": {"chat": "slack://token"}}, "notifications.apprise.chat"),
        ({"base_url": "ops.example.org"}, "notifications.base_url"),
        ({"recipient": ["a@b.c"]}, "Did you mean"),
        ({"alarms_per_hour": 0}, "notifications.alarms_per_hour"),
    ],
)
def test_faults_are_told_without_the_secret(given: dict[str, object], where: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_configuration({"notifications": given})

    assert where.lower() in str(raised.value).lower()
    assert "token" not in str(raised.value).replace("never the token", "")
