"""iCalendar: what a reader that keeps to RFC 5545 gets back."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.scheduling.calendar import Appointment, Planned
from maintenance.core.scheduling.cron import Cron
from maintenance.reports.ics import render_ics

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
NEVER = Cron(set(), set(), set(), set(), set(), UTC)
PLAN = Planned("daily trim_streams on main", "trim_streams", "redis main", NEVER, seconds=90.0)


def appointment(**more: object) -> Appointment:
    return Appointment(PLAN, NOON, NOON + timedelta(minutes=5), **more)  # type: ignore[arg-type]


def unfolded(body: str) -> list[str]:
    return re.sub(r"\r\n[ \t]", "", body).split("\r\n")[:-1]


def unescaped(text: str) -> str:
    return re.sub(
        r"\\(.)",
        lambda found: "\n" if found.group(1) in "nN" else found.group(1),
        text,
        flags=re.DOTALL,
    )


def events(body: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for line in unfolded(body):
        name, _, value = line.partition(":")
        if line == "BEGIN:VEVENT":
            found.append({})
        elif found and name not in {"BEGIN", "END"}:
            assert name not in found[-1], "once each"
            found[-1][name] = value
    return found


def test_a_run_is_an_event_in_utc_with_its_expected_end() -> None:
    zone = timezone(timedelta(hours=-5))
    moved = replace(appointment(remark="waits for its window"), begins_at=NOON.astimezone(zone))

    lines = unfolded(render_ics([moved], NOON))
    [event] = events(render_ics([moved], NOON))

    assert lines[:3] == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//celery-maintenance//calendar//EN",
    ]
    assert lines[-1] == "END:VCALENDAR"
    assert event["DTSTART"] == "20261126T120000Z"
    assert event["DTEND"] == "20261126T120130Z"
    assert event["DTSTAMP"] == "20261126T120000Z"
    assert event["SUMMARY"] == "daily trim_streams on main"
    assert event["LOCATION"] == "redis main"
    assert unescaped(event["DESCRIPTION"]) == (
        "Due at 2026-11-26 12:00 UTC. Usually takes 1 min 30 s. Waits for its window."
    )


def test_a_description_of_the_whole_stands_where_there_is_one() -> None:
    words = "Due more often than each hour, and left out: a; b. " + "x" * 100

    lines = unfolded(render_ics([appointment()], NOON, words))

    [said] = [line for line in lines if line.startswith("X-WR-CALDESC:")]
    assert unescaped(said.removeprefix("X-WR-CALDESC:")) == words
    assert "X-WR-CALDESC" not in render_ics([appointment()], NOON)


def test_a_slot_keeps_its_uid_when_its_run_moves_and_no_other_slot_has_it() -> None:
    early, late = appointment(), replace(appointment(), begins_at=NOON + timedelta(hours=3))
    other = replace(appointment(), due_at=NOON + timedelta(days=1))
    elsewhere = replace(appointment(), plan=replace(PLAN, target="redis other"))
    uids = [event["UID"] for event in events(render_ics([early, late, other, elsewhere], NOON))]
    assert uids[0] == uids[1]
    assert len(set(uids)) == 3
    assert uids[0] == events(render_ics([early], NOON + timedelta(days=9)))[0]["UID"]


def test_what_has_no_run_is_left_out_and_an_unknown_length_has_no_end() -> None:
    without = replace(appointment(), begins_at=None)
    idle = replace(appointment(), plan=replace(PLAN, idle="will be skipped: not allowed"))
    unknown = replace(appointment(), plan=replace(PLAN, seconds=None))
    short = replace(appointment(), plan=replace(PLAN, seconds=0.2))
    found = events(render_ics([without, idle, unknown, short], NOON))
    assert ["DTEND" in event for event in found] == [False, False]


@given(st.text(max_size=300))
def test_any_name_comes_back_whole_from_lines_of_75_octets(name: str) -> None:
    body = render_ics([replace(appointment(), plan=replace(PLAN, name=name))], NOON)
    assert all(len(line.encode()) <= 75 for line in body.split("\r\n"))
    assert "\n" not in body.replace("\r\n", "")
    [event] = events(body)
    kept = name.replace("\r\n", "\n").replace("\t", " ")
    expected = "".join(c for c in kept if c.isprintable() or c == "\n")
    assert unescaped(event["SUMMARY"]) == expected
