"""The pure parts of the server review: periods of counters, and each topic's judgement."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Thresholds
from maintenance.core.findings import Severity
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.server.archiver import Archiver, diagnose_archiver
from maintenance.postgres.server.checkpoints import (
    CheckpointPeriod,
    CheckpointSettings,
    advised_max_wal_size_bytes,
    checkpoint_period,
    diagnose_checkpoints,
)
from maintenance.postgres.server.checksums import ChecksumFailures, diagnose_checksums
from maintenance.postgres.server.collations import (
    INDEXES_PRINTED,
    CollationMismatch,
    diagnose_collation,
)
from maintenance.postgres.server.conflicts import diagnose_conflicts, diagnose_deadlocks
from maintenance.postgres.server.counted_period import Counted, Period, period_between
from maintenance.postgres.server.extensions import ExtensionVersion, diagnose_extension
from maintenance.postgres.server.replication_slots import ReplicationSlot, diagnose_slot
from maintenance.postgres.server.standbys import (
    ReplicationRole,
    Standby,
    diagnose_own_replay,
    diagnose_standby,
)
from maintenance.postgres.server.temporary_files import diagnose_temporary_files

DAY = 86_400.0
NOW = 1_800_000_000.0
MIB, GIB = 1024**2, 1024**3
THRESHOLDS = Thresholds()


def counted(
    value: int, at: float = NOW, since: float | None = NOW - 30 * DAY, who: str = "a"
) -> Counted:
    return Counted({"n": value}, CounterWindow(since, at), who)


def test_a_period_begins_at_the_last_look() -> None:
    period = period_between(counted(10, NOW - DAY), counted(35))
    assert period.increase == {"n": 25}
    assert period.seconds == DAY
    assert period.in_words == "the 1 day since the last look"


@pytest.mark.parametrize(
    "before",
    [
        None,
        counted(50, NOW - DAY),  # more than now: the counters began anew
        counted(10, NOW - DAY, since=NOW - 40 * DAY),  # a reset between the looks
        counted(10, NOW - DAY, since=None),
        counted(10, NOW - DAY, who="b"),  # another server
        counted(10, NOW + 5),  # the clock was set back
    ],
)
def test_otherwise_it_begins_with_the_counters(before: Counted | None) -> None:
    period = period_between(before, counted(35))
    assert period.increase == {"n": 35}
    assert period.seconds == 30 * DAY
    assert not period.since_last_look


def remembering(value: int, remembered_at: float) -> Counted:
    """A look after the start of the counters has moved to an hour ago."""
    return Counted({"n": value}, CounterWindow(NOW - 3600, NOW, remembered_at), "a")


def test_the_reset_of_one_table_begins_no_new_period() -> None:
    before = counted(35, NOW - DAY)
    period = period_between(before, remembering(35, remembered_at=NOW - 3 * DAY))
    assert period.increase == {"n": 0}
    assert period.seconds == DAY
    assert period.since_last_look


@pytest.mark.parametrize(("value", "remembered_at"), [(35, NOW - 1800), (9, NOW - 3 * DAY)])
def test_a_reset_of_all_does(value: int, remembered_at: float) -> None:
    period = period_between(counted(10, NOW - DAY), remembering(value, remembered_at))
    assert period.increase == {"n": value}
    assert not period.since_last_look


def test_a_first_look_covers_what_the_counters_remember() -> None:
    period = period_between(None, remembering(35, remembered_at=NOW - 3 * DAY))
    assert period.seconds == 3 * DAY
    assert period.in_words.startswith("3 days (since ")


def test_a_look_survives_its_state_and_garbage_is_no_look() -> None:
    assert Counted.from_state(counted(3).to_state()) == counted(3)
    for garbage in ({}, {"values": 3}, {"values": {"n": "x"}, "identity": "a"}):
        assert Counted.from_state(garbage) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_an_increase_is_never_negative(first: int, second: int) -> None:
    assert period_between(counted(first, NOW - DAY), counted(second)).increase["n"] >= 0


SETTINGS = CheckpointSettings(GIB, "1GB", 16 * MIB, 300.0, 0.9)


def checkpoints(timed: int, requested: int, wal_bytes: int, days: float = 1.0) -> CheckpointPeriod:
    increase = {
        "timed": timed,
        "requested": requested,
        "wal_bytes": wal_bytes,
        "wal_position": wal_bytes,
    }
    return checkpoint_period(Period(increase, days * DAY, "a day", since_last_look=True), SETTINGS)


def codes(seen: CheckpointPeriod) -> list[str]:
    return [f.code for f in diagnose_checkpoints(seen, SETTINGS, "a day")]


def test_the_distance_between_checkpoints_is_the_servers() -> None:
    # 64 segments / 1.9 = 33.6: the server counts whole segments.
    assert SETTINGS.distance_bytes == 33 * 16 * MIB


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (checkpoints(288, 0, 100 * GIB), []),
        (checkpoints(10, 200, 200 * 33 * 16 * MIB), ["checkpoints-requested"]),
        (checkpoints(200, 100, 100 * GIB), []),  # a minority came early
        (checkpoints(0, 4, 100 * GIB), []),  # one load by night
        (checkpoints(10, 200, MIB), ["checkpoints-by-command"]),  # no WAL, so not for WAL
        (checkpoints(0, 0, 0), []),
    ],
)
def test_early_checkpoints_are_told_from_those_by_command(
    seen: CheckpointPeriod, found: list[str]
) -> None:
    assert codes(seen) == found


def test_before_a_second_look_no_command_is_blamed() -> None:
    # max_wal_size may have been smaller when most of these checkpoints came.
    seen = replace(checkpoints(10, 200, MIB), is_exact=False)
    assert codes(seen) == []


@given(st.integers(0, 10**14), st.integers(16 * MIB, 64 * GIB))
def test_the_advised_size_holds_twice_the_mean_and_grows(wal_bytes: int, size: int) -> None:
    settings = replace(SETTINGS, max_wal_size_bytes=size)
    period = Period(
        {"timed": 1, "requested": 9, "wal_bytes": wal_bytes, "wal_position": wal_bytes},
        DAY,
        "a day",
        since_last_look=True,
    )
    advised = advised_max_wal_size_bytes(checkpoint_period(period, settings), settings)
    assert advised % GIB == 0
    assert advised >= 2 * size
    assert replace(settings, max_wal_size_bytes=advised).distance_bytes + 16 * MIB >= (
        wal_bytes / DAY * settings.timeout_seconds
    )


ARCHIVER = Archiver(
    mode="on",
    in_recovery=False,
    has_destination=True,
    archived_count=10,
    failed_count=2,
    last_failed_wal="000000010000000000000003",
    last_archived_at=NOW - 3600,
    last_failed_at=NOW - 60,
    measured_at=NOW,
    wal_segment_bytes=16 * MIB,
    waiting_files=20,
)


def test_an_archiver_fails_while_the_failure_is_the_last_word() -> None:
    (finding,) = diagnose_archiver(ARCHIVER, Thresholds())
    assert finding.severity is Severity.CRITICAL
    assert "nothing was archived for 1 hour" in finding.sentence
    assert "20 files (320 MB) wait" in finding.sentence
    assert not [*diagnose_archiver(replace(ARCHIVER, last_archived_at=NOW - 30), Thresholds())]
    assert not [*diagnose_archiver(replace(ARCHIVER, mode="off"), Thresholds())]
    assert not [*diagnose_archiver(replace(ARCHIVER, in_recovery=True), Thresholds())]
    (finding,) = diagnose_archiver(replace(ARCHIVER, has_destination=False), Thresholds())
    assert finding.code == "archiver-without-destination"


@pytest.mark.parametrize(
    ("files", "seconds", "severity"),
    [
        (20, 60, None),
        (0, 0, None),
        (1, 3600, Severity.WARNING),
        (64, 60, Severity.WARNING),
        (1024, 60, Severity.CRITICAL),
    ],
)
def test_an_archiver_that_hangs_or_is_too_slow_is_behind(
    files: int, seconds: float, severity: Severity | None
) -> None:
    archiver = replace(
        ARCHIVER,
        failed_count=0,
        last_failed_at=None,
        last_archived_at=NOW - 6 * 3600,
        waiting_files=files,
        waiting_since=NOW - seconds if files else None,
    )
    found = [*diagnose_archiver(archiver, Thresholds())]
    assert [(f.code, f.severity) for f in found] == (
        [("archiver-behind", severity)] if severity else []
    )
    assert all("nothing was archived for 6 hours" in f.sentence for f in found)


SLOT = ReplicationSlot(
    name="replica",
    kind="physical",
    database=None,
    is_active=True,
    is_temporary=False,
    wal_status="reserved",
    safe_wal_bytes=None,
    retained_bytes=16 * MIB,
    unconfirmed_bytes=None,
    xid_age=None,
    is_synced=False,
    invalidation_reason=None,
    inactive_seconds=None,
    is_unlimited=True,
    drop_command="SELECT pg_drop_replication_slot('replica');",
)


@pytest.mark.parametrize(
    ("slot", "found"),
    [
        (SLOT, None),
        (replace(SLOT, is_active=False), ("slot-inactive", Severity.INFO)),
        (replace(SLOT, is_active=False, is_temporary=True), None),
        (replace(SLOT, is_active=False, is_synced=True), None),
        (replace(SLOT, retained_bytes=2 * GIB), ("slot-retains-wal", Severity.WARNING)),
        (replace(SLOT, retained_bytes=20 * GIB), ("slot-retains-wal", Severity.CRITICAL)),
        (replace(SLOT, wal_status="unreserved"), ("slot-unreserved", Severity.CRITICAL)),
        (
            replace(SLOT, wal_status="lost", is_active=False, retained_bytes=None),
            ("slot-lost", Severity.WARNING),
        ),
        (
            replace(SLOT, invalidation_reason="rows_removed", is_active=False),
            ("slot-lost", Severity.WARNING),
        ),
    ],
)
def test_a_slot_is_judged_by_what_it_keeps_and_whether_it_is_lost(
    slot: ReplicationSlot, found: tuple[str, Severity] | None
) -> None:
    findings = [(f.code, f.severity) for f in diagnose_slot(slot, THRESHOLDS)]
    assert findings == ([found] if found else [])


def test_what_may_still_be_written_is_said_and_a_slot_in_use_is_not_to_be_dropped() -> None:
    limited = replace(SLOT, retained_bytes=2 * GIB, is_unlimited=False, safe_wal_bytes=GIB)
    (finding,) = diagnose_slot(limited, THRESHOLDS)
    assert "it is lost after 1.0 GB more" in finding.sentence
    assert finding.commands == ()
    (finding,) = diagnose_slot(
        replace(limited, is_active=False, inactive_seconds=7200.0), THRESHOLDS
    )
    assert "has had no consumer for 2 hours" in finding.sentence
    assert finding.commands == (SLOT.drop_command,)


STANDBY = Standby(7, "replica", "10.0.0.2", "streaming", "async", MIB, 0, 0.5, slot_kind="physical")
PRIMARY = ReplicationRole(False, True, 0, None, None, None, is_receiving=False, has_primary=False)


@pytest.mark.parametrize(
    ("standby", "severity"),
    [
        (STANDBY, None),
        (replace(STANDBY, lag_seconds=61.0), Severity.WARNING),
        (replace(STANDBY, lag_seconds=601.0), Severity.CRITICAL),
        (replace(STANDBY, lag_bytes=2 * GIB, lag_seconds=None), Severity.WARNING),
        (replace(STANDBY, lag_bytes=None, lag_seconds=None), None),
    ],
)
def test_a_standby_lags_by_time_or_by_wal(standby: Standby, severity: Severity | None) -> None:
    findings = [f.severity for f in diagnose_standby(standby, PRIMARY, THRESHOLDS)]
    assert findings == ([severity] if severity else [])


def test_a_subscriber_is_not_called_a_standby() -> None:
    late = replace(STANDBY, slot_kind="logical", lag_seconds=61.0)
    (finding,) = diagnose_standby(late, PRIMARY, THRESHOLDS)
    assert finding.sentence.startswith('The subscriber "replica" is')


def test_a_standby_without_slot_is_named_unless_wal_is_kept() -> None:
    loose = replace(STANDBY, slot_kind=None)
    (finding,) = diagnose_standby(loose, PRIMARY, THRESHOLDS)
    assert finding.code == "standby-without-slot"
    assert not [*diagnose_standby(loose, replace(PRIMARY, wal_keep_mb=1024), THRESHOLDS)]


def test_the_replay_of_an_idle_primary_is_not_late() -> None:
    standby = replace(PRIMARY, in_recovery=True, is_receiving=True, has_primary=True)
    idle = replace(standby, replay_lag_bytes=0, replayed_seconds_ago=DAY)
    assert not [*diagnose_own_replay(idle, THRESHOLDS)]
    (late,) = diagnose_own_replay(replace(idle, replay_lag_bytes=100), THRESHOLDS)
    assert late.code == "replay-lag"
    (lost,) = diagnose_own_replay(replace(idle, is_receiving=False), THRESHOLDS)
    assert lost.code == "standby-not-streaming"
    # Where the role may not see primary_conninfo, a standby fed from an archive looks the same.
    assert not [
        *diagnose_own_replay(replace(idle, is_receiving=False, has_primary=None), THRESHOLDS)
    ]


def spilled(size: int, days: float | None) -> Period:
    seconds = None if days is None else days * DAY
    return Period({"temp_files": 4, "temp_bytes": size}, seconds, "a time", since_last_look=True)


@pytest.mark.parametrize(
    ("period", "found"),
    [
        (spilled(11 * GIB, 1), True),
        (spilled(11 * GIB, 7), False),
        (spilled(71 * GIB, 7), True),
        (spilled(2 * GIB, 0.01), False),  # an hour is not blown up to a day
        (spilled(11 * GIB, None), True),
    ],
)
def test_temporary_files_are_measured_against_a_daily_amount(period: Period, found: bool) -> None:
    findings = [*diagnose_temporary_files(period, "4MB", 10 * GIB, are_logged=False)]
    assert bool(findings) == found


def test_deadlocks_are_a_warning_when_they_are_a_habit() -> None:
    week = Period({"deadlocks": 3}, 7 * DAY, "a week", since_last_look=True)
    assert [f.severity for f in diagnose_deadlocks(week)] == [Severity.INFO]
    often = replace(week, increase={"deadlocks": 30})
    assert [f.severity for f in diagnose_deadlocks(often)] == [Severity.WARNING]
    assert not [*diagnose_deadlocks(replace(week, increase={"deadlocks": 0}))]


def test_the_commonest_conflict_decides_the_remedy() -> None:
    kinds = {"lock": 1, "snapshot": 5, "bufferpin": 0, "deadlock": 0, "tablespace": 0}
    increase = {f"conflicts_{kind}": count for kind, count in kinds.items()}
    (finding,) = diagnose_conflicts(Period(increase, DAY, "a day", since_last_look=True))
    assert "cancelled 6 queries" in finding.sentence
    assert "hot_standby_feedback" in finding.advice


EXTENSION = ExtensionVersion("hstore", "hstore", "1.7", "1.8", True, False, True, "'1.7'")


def test_an_extension_is_updated_and_taken_back_where_the_scripts_allow_it() -> None:
    (finding,) = diagnose_extension(EXTENSION)
    assert finding.commands == ("ALTER EXTENSION hstore UPDATE;",)
    assert finding.undo == ()
    (finding,) = diagnose_extension(replace(EXTENSION, can_go_back=True))
    assert finding.undo == ("ALTER EXTENSION hstore UPDATE TO '1.7';",)
    (finding,) = diagnose_extension(replace(EXTENSION, can_update=False))
    assert finding.code == "extension-version"
    assert finding.commands == ()
    (finding,) = diagnose_extension(replace(EXTENSION, default_version=None))
    assert finding.code == "extension-files-missing"


def test_a_collation_without_indexes_only_wants_its_version_recorded() -> None:
    mismatch = CollationMismatch("collation", 'public."X"', "1", "2", True, ())
    (finding,) = diagnose_collation(mismatch)
    assert finding.severity is Severity.INFO
    assert finding.commands == ('ALTER COLLATION public."X" REFRESH VERSION;',)


def test_thousands_of_affected_indexes_make_a_readable_finding() -> None:
    indexes = tuple(f"public.i{n}" for n in range(3_000))
    mismatch = CollationMismatch("database", "site", "2.31", "2.36", False, indexes)
    (finding,) = diagnose_collation(mismatch)
    assert len(finding.commands) == INDEXES_PRINTED + 1
    assert finding.commands[-1] == "ALTER DATABASE site REFRESH COLLATION VERSION;"
    assert "3,000 indexes" in finding.sentence
    assert "2,950 more" in finding.advice


def test_checksums_off_is_a_note_and_a_failure_is_critical() -> None:
    (off,) = diagnose_checksums([], is_on=False, ignored=False)
    assert (off.code, off.severity) == ("checksums-off", Severity.INFO)
    assert not [*diagnose_checksums([], is_on=True, ignored=False)]
    (ignored,) = diagnose_checksums([], is_on=True, ignored=True)
    assert ignored.severity is Severity.WARNING
    damaged = ChecksumFailures("site", 1, NOW)
    (finding,) = diagnose_checksums([damaged], is_on=True, ignored=False)
    assert finding.severity is Severity.CRITICAL
    assert '1 page of "site" did not match its checksum' in finding.sentence
    assert "2027-01-15 08:00 UTC" in finding.sentence
