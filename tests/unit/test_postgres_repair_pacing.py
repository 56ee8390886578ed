"""How fast to work beside a site, and until when."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Pacing
from maintenance.core.job import OpenWindow
from maintenance.core.latency import LatencyChange
from maintenance.postgres.repair.harm import Harm, harm_findings
from maintenance.postgres.repair.load import Load
from maintenance.postgres.repair.pacing import Pace, Speed, pace_of, speed_for
from maintenance.postgres.repair.time_limits import TimeLimits

LIMITS = Pacing(active_sessions=8)
QUIET = Load(active_sessions=0)


def pace(load: Load, jobs: int = 4) -> Pace:
    return pace_of(load, LIMITS, jobs=jobs, processors=2)


def test_a_quiet_server_bears_all_jobs_at_full_speed() -> None:
    assert pace(QUIET) == Pace(4, Speed.FULL)


def test_beside_a_site_at_work_half_of_the_jobs_go_on_gently() -> None:
    assert pace(Load(active_sessions=1)) == Pace(2, Speed.GENTLE, "the site is at work")
    assert pace(Load(recent_sessions=1), jobs=1).sessions == 1


def test_a_role_that_may_not_see_sessions_is_not_stopped_by_them() -> None:
    assert pace(Load()) == Pace(4, Speed.FULL)


@pytest.mark.parametrize(
    ("load", "word"),
    [
        (Load(active_sessions=9), "9 active sessions"),
        (Load(lock_waiters=4), "4 sessions wait for locks"),
        (Load(replica_lag_seconds=31.0), "a standby is 31 s behind"),
        (Load(wal_bytes_per_second=65e6 * 1.1), "WAL grows by 72 MB a second"),
        (Load(added_latency_ms=5.1), "takes 5.1 ms longer"),
    ],
)
def test_above_any_limit_nothing_begins(load: Load, word: str) -> None:
    stopped = pace(load)
    assert stopped.sessions == 0
    assert word in stopped.reason


def test_near_a_limit_one_session_works_gently() -> None:
    near = pace(Load(active_sessions=5))
    assert (near.sessions, near.speed) == (1, Speed.GENTLE)


def test_latency_below_its_limit_slows_what_somebody_feels_and_not_what_nobody_does() -> None:
    near = Load(active_sessions=0, recent_sessions=1, added_latency_ms=3.0)
    assert (pace(near).sessions, pace(near).speed) == (1, Speed.GENTLE)
    assert pace(replace(near, recent_sessions=0)) == Pace(4, Speed.FULL)
    assert pace(replace(near, active_sessions=None, recent_sessions=None)).sessions == 1
    assert pace(replace(near, recent_sessions=0, added_latency_ms=5.1)).sessions == 0


def test_without_a_limit_of_its_own_a_server_bears_two_sessions_for_each_processor() -> None:
    assert pace_of(Load(active_sessions=4), Pacing(), jobs=1, processors=2).sessions == 1
    assert pace_of(Load(active_sessions=5), Pacing(), jobs=1, processors=2).sessions == 0


def test_what_wal_a_server_bears_follows_from_its_own_limit_unless_one_is_configured() -> None:
    large = Load(active_sessions=0, wal_bytes_per_second=200e6, max_wal_bytes=8 * 1024**3)
    assert pace(large) == Pace(4, Speed.FULL)
    assert pace(replace(large, max_wal_bytes=4 * 1024**3)).sessions == 1
    assert "(limit 134 MB)" in pace(replace(large, max_wal_bytes=2 * 1024**3)).reason

    configured = Pacing(active_sessions=8, wal_bytes_per_second=100_000_000)
    stopped = pace_of(large, configured, jobs=4, processors=2)
    assert (stopped.sessions, "(limit 100 MB)" in stopped.reason) == (0, True)


@given(
    st.builds(
        Load,
        active_sessions=st.none() | st.integers(0, 100),
        lock_waiters=st.integers(0, 20),
        replica_lag_seconds=st.none() | st.floats(0, 1e4),
        wal_bytes_per_second=st.none() | st.floats(0, 1e10),
        added_latency_ms=st.none() | st.floats(0, 1e3),
    ),
    st.integers(1, 64),
)
def test_more_load_never_means_more_work(load: Load, jobs: int) -> None:
    now = pace(load, jobs)
    more = pace(replace(load, lock_waiters=load.lock_waiters + 1), jobs)
    assert 0 <= more.sessions <= now.sessions <= jobs
    assert now.reason or now.sessions == jobs


def test_what_takes_long_begins_below_full_speed() -> None:
    quiet = Pace(2, Speed.FULL)
    assert speed_for(quiet, None) is Speed.FULL
    assert speed_for(quiet, 29.0) is Speed.FULL
    assert speed_for(quiet, 31.0) is Speed.STEADY
    assert speed_for(Pace(2, Speed.GENTLE), 31.0) is Speed.GENTLE


def limits(now: float, **given_limits: float) -> TimeLimits:
    window = OpenWindow(closes_epoch_seconds=1000.0, next_opens_epoch_seconds=90_000.0)
    return TimeLimits(window=window, clock=lambda: now, **given_limits)


def test_a_step_that_would_outlast_the_window_is_not_begun() -> None:
    assert limits(400.0).too_long(600.0) == ""
    assert limits(400.0).too_long(601.0) == (
        "it needs about 10 minutes, and the maintenance window closes at 00:16 UTC"
    )
    assert limits(400.0).too_long(None) == ""
    assert TimeLimits().too_long(1e9) == ""


def test_what_would_outlast_the_time_budget_is_not_begun() -> None:
    budget = TimeLimits(budget_seconds=600.0, ends_epoch_seconds=1000.0, clock=lambda: 400.0)
    assert budget.too_long(600.0) == ""
    assert budget.too_long(601.0) == (
        "it needs about 10 minutes, and the time budget leaves 10 minutes"
    )
    assert budget.too_long(None) == ""


def test_the_window_and_the_budget_end_a_run() -> None:
    assert limits(999.0).over() == ""
    assert limits(1000.0).over() == "the maintenance window closed"
    used_up = limits(500.0, budget_seconds=120.0, ends_epoch_seconds=500.0)
    assert used_up.over() == "the time budget of 2 minutes is used up"
    assert not used_up.window_is_closed
    assert TimeLimits().over() == ""


def test_harm_within_its_limits_is_a_fact_and_no_finding() -> None:
    harm = Harm(latency=LatencyChange(1.0, 2.0, 9.0, 40), longest_wait_seconds=0.7)
    assert list(harm_findings(harm, LIMITS)) == []
    assert harm.facts["latency_added_ms"] == 1.0
    assert harm.facts["longest_wait_caused_seconds"] == 0.7


def test_one_slow_answer_beside_a_run_of_a_moment_is_no_harm() -> None:
    assert list(harm_findings(Harm(latency=LatencyChange(1.0, 90.0, 90.0, 4)), LIMITS)) == []
    [found] = harm_findings(Harm(latency=LatencyChange(1.0, 90.0, 90.0, 5)), LIMITS)
    assert found.code == "added-latency"


def test_harm_above_its_limits_is_named() -> None:
    harm = Harm(
        latency=LatencyChange(1.0, 7.0, 9.0, 40),
        longest_wait_seconds=2.5,
        longest_waiter="process 7",
        gave_way=2,
        waited_seconds=61.0,
        reasons=["a standby is 40 s behind (limit 30 s)"],
    )
    found = {finding.code: finding.sentence for finding in harm_findings(harm, LIMITS)}
    assert found["repair-blocked-others"].startswith("process 7 waited 2")
    assert "7.0 ms while this run was at work and 1.0 ms before" in found["added-latency"]
    assert found["repair-gave-way"] == (
        "2 statements of this run ended early, because the site waited for a lock, and the run"
        " stood still for 1 minute, for the site: a standby is 40 s behind (limit 30 s)"
    )
