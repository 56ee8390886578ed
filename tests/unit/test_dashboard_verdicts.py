"""The dashboard's sentences: from the newest runs to a verdict for each area, the worst first."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from maintenance.admin.dashboard.areas import AREAS, LOOKS_EVERY_DAYS, area_of
from maintenance.admin.dashboard.verdicts import (
    KINDS,
    Verdict,
    headline,
    kind_of,
    standings_of,
    verdicts,
)
from maintenance.core.attention.standings import Standing
from maintenance.core.runs.registry import all_tasks, task_named
from maintenance.schedules import CHECKLISTS

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SPECS = {spec.name: spec for spec in all_tasks()}


def standing(task: str, target: str = "site", *, age_days: float = 0.1, **more: Any) -> Standing:
    facts = {
        "run_id": f"{task}-{target}",
        "state": "succeeded",
        "severity": "ok",
        "summary": "Fine.",
    }
    finished_at = NOW - timedelta(days=age_days)
    return Standing(f"maintenance.{task}", target, finished_at=finished_at, **{**facts, **more})


def sentences(*standings: Standing) -> list[tuple[str, str]]:
    return [(each.kind, each.sentence) for each in verdicts(standings, SPECS, NOW)]


def test_a_healthy_area_is_one_sentence_with_what_its_run_said() -> None:
    [verdict] = verdicts(
        [standing("review_vacuum_health", summary="212 tables, oldest need 3 h")], SPECS, NOW
    )

    assert (verdict.kind, verdict.sentence) == ("ok", "Vacuuming is healthy.")
    assert [detail.sentence for detail in verdict.details] == ["212 tables, oldest need 3 h"]
    assert verdict.details[0].what == "Review vacuum health on site"


def test_the_worst_stands_on_top_and_names_its_targets() -> None:
    assert sentences(
        standing("check_disk_space", "local"),
        standing("check_queue_depths", "a", severity="warning"),
        standing("check_queue_depths", "b"),
        standing("check_queue_depths", "c", severity="warning"),
        standing("review_activity", state="failed", severity="critical"),
        standing("check_data_integrity", severity="critical"),
        standing("trim_streams", severity="info"),
        standing("check_redis_memory", "a"),
        standing("check_redis_memory", "b"),
    ) == [
        ("critical", "Data integrity needs somebody now."),
        ("failed", "Connections and locks could not be looked at: the last run failed."),
        ("warning", "Queues need attention on 2 of 3 targets."),
        ("info", "Streams are well, with a note."),
        ("ok", "Disk space is healthy."),
        ("ok", "Redis memory is healthy on 2 targets."),
    ]


def test_what_concerns_the_site_as_a_whole_is_no_target_of_it() -> None:
    found = sentences(
        standing("review_capacity", "", severity="warning"),
        standing("review_database_growth", "a"),
        standing("review_database_growth", "b"),
    )

    assert found == [("warning", "Growth and capacity need attention.")]


def test_many_targets_of_one_fault_are_three_by_name_and_a_count() -> None:
    faulty = [
        standing("check_queue_depths", f"broker {n}", severity="warning", age_days=n / 100)
        for n in range(8)
    ]
    [verdict] = verdicts(faulty, SPECS, NOW)

    assert [detail.what for detail in verdict.details] == [
        f"Check queue depths on broker {n}" for n in range(3)
    ]
    assert verdict.more == 5


def test_no_warning_hides_behind_a_failure_of_its_area() -> None:
    [verdict] = verdicts(
        [
            standing("report_table_bloat", severity="warning", summary="One table is bloated."),
            standing("report_index_bloat", state="failed", severity="critical", summary="Away."),
            standing("reindex_bloated_indexes", summary="Fine."),
        ],
        SPECS,
        NOW,
    )

    assert verdict.kind == "failed"
    assert [(detail.kind, detail.sentence) for detail in verdict.details] == [
        ("failed", "Away."),
        ("warning", "One table is bloated."),
    ]


def test_what_has_not_looked_for_two_periods_is_not_called_healthy() -> None:
    fresh = standing("report_table_bloat", "site", age_days=13.9)
    old = standing("report_table_bloat", "site", age_days=14.1)

    assert (kind_of(fresh, NOW), kind_of(old, NOW)) == ("ok", "unavailable")
    [(kind, sentence)] = sentences(old)
    assert kind == "unavailable"
    assert sentence.replace("\xa0", " ") == (
        "Space in tables and indexes was looked at last 2 weeks ago, which is too long ago."
    )


def test_an_old_warning_stays_a_warning() -> None:
    assert kind_of(standing("check_disk_space", age_days=90, severity="warning"), NOW) == "warning"


def test_a_task_of_no_checklist_is_waited_for_by_nobody() -> None:
    pairs = [(task_named("flush_cache"), "site"), (task_named("check_disk_space"), "local")]

    assert list(standings_of(pairs, {})) == [Standing("maintenance.check_disk_space", "local")]
    assert sentences(Standing("maintenance.check_disk_space", "local")) == [
        ("unavailable", "Nobody has looked at these yet: disk space.")
    ]


def test_the_monthly_work_of_an_area_makes_it_unknown_only_where_nothing_else_has_looked() -> None:
    never = Standing("maintenance.vacuum_analyze", "site")

    assert sentences(standing("review_vacuum_health"), never) == [("ok", "Vacuuming is healthy.")]
    assert sentences(standing("review_vacuum_health", "other"), never) == [
        ("unavailable", "Vacuuming has not been looked at yet on 1 of 2 targets.")
    ]


def test_what_has_no_target_is_one_sentence_at_the_end() -> None:
    found = sentences(
        Standing("maintenance.trim_streams", ""),
        Standing("maintenance.check_redis_memory", ""),
        standing("check_disk_space", "local"),
    )

    assert found[-1] == (
        "skipped",
        "No target of their kind is configured: streams, Redis memory.",
    )
    assert found[0][0] == "ok"


def test_a_task_without_a_target_is_missed_like_any_other() -> None:
    assert sentences(Standing("maintenance.prove_slots", "")) == [
        ("unavailable", "Nobody has looked at these yet: schedules.")
    ]


def test_the_headline_counts_what_needs_somebody() -> None:
    made = [Verdict(kind, "") for kind in ("critical", "failed", "warning", "ok", "ok", "skipped")]

    assert headline(made) == (
        "critical",
        "2 things need somebody now, 1 needs attention, 2 are well.",
    )
    assert headline(made[3:]) == ("ok", "All is well.")
    assert headline(made[5:]) == ("unavailable", "Nothing has been looked at yet.")
    assert headline([Verdict("unavailable", ""), Verdict("ok", "")]) == (
        "unavailable",
        "1 is not known, 1 is well.",
    )
    assert headline([Verdict("unavailable", "", areas=3), Verdict("ok", "")])[1] == (
        "3 are not known, 1 is well."
    )


def test_each_task_of_a_checklist_has_an_area_in_words() -> None:
    of_checklists = {schedule.task for checklist in CHECKLISTS.values() for schedule in checklist}
    known = {task for area in AREAS for task in area.tasks}

    assert {f"maintenance.{task}" for task in of_checklists} == set(LOOKS_EVERY_DAYS)
    for area in AREAS:
        for task in area.tasks:
            assert task_named(task), "a task that was renamed"
    assert area_of("maintenance.review_something_else").name == "Review something else"
    assert len(known) == sum(len(area.tasks) for area in AREAS), "a task stands in two areas"


def test_what_is_in_two_checklists_is_due_as_the_more_frequent_one() -> None:
    assert LOOKS_EVERY_DAYS["maintenance.review_slow_queries"] == 1


@given(
    st.lists(
        st.builds(
            standing,
            st.sampled_from(
                ["check_disk_space", "trim_streams", "review_activity", "vacuum_analyze"]
            ),
            st.sampled_from(["a", "b", "c"]),
            severity=st.sampled_from(["ok", "info", "warning", "critical"]),
            state=st.sampled_from(["succeeded", "failed"]),
            age_days=st.floats(0, 100),
        ),
        unique_by=lambda each: (each.task, each.target),
    )
)
def test_no_worse_run_hides_behind_a_better_verdict(standings: list[Standing]) -> None:
    found = verdicts(standings, SPECS, NOW)

    ranks = [verdict.rank for verdict in found]
    assert ranks == sorted(ranks)
    worst = min((KINDS.index(kind_of(each, NOW)) for each in standings), default=None)
    assert worst == (ranks[0] if ranks else None)
    assert len(found) == len({area_of(each.task).name for each in standings})
