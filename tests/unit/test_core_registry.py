"""Tasks by name, their targets and their rate limits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Configuration, parse_configuration
from maintenance.core.errors import ConfigurationError, Skipped, UnknownName
from maintenance.core.rates import RateLimit
from maintenance.core.runs.registry import (
    TargetKind,
    TaskSpec,
    all_tasks,
    register,
    task_named,
)

PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def site() -> Configuration:
    return parse_configuration(
        {
            "databases": {"site": {"url": "postgres://h/d"}},
            "redis": {"streams": {"url": "redis://h/0"}, "cache": {"url": "redis://h/1"}},
        }
    )


def our_tasks() -> list[TaskSpec]:
    """Return the package's own tasks: the embedding project of the tests adds some."""
    return [task for task in all_tasks() if task.function.__module__.startswith("maintenance.")]


@given(st.integers(1, 10**6), st.sampled_from(sorted(PERIODS)))
def test_a_rate_limit_is_read_in_celerys_notation(starts: int, unit: str) -> None:
    assert RateLimit.parse(f"{starts}/{unit}") == RateLimit(starts, PERIODS[unit])


def test_a_rate_limit_without_a_unit_is_per_second() -> None:
    assert RateLimit.parse("5") == RateLimit(5, 1.0)


@pytest.mark.parametrize("text", ["", "/m", "0/m", "-1/s", "1/d", "a/s", "1.5/s", "1/m/s"])
def test_a_rate_limit_that_is_none_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match='Write a number and s, m or h: "100/m"'):
        RateLimit.parse(text)


def test_a_task_is_found_by_its_short_and_its_full_name() -> None:
    assert task_named("trim_streams") is task_named("maintenance.trim_streams")
    assert task_named("trim_streams").short_name == "trim_streams"


def test_an_unknown_task_gets_a_suggestion_in_its_short_form() -> None:
    for wrong in ("trim_steams", "maintenance.trim_steams"):
        with pytest.raises(UnknownName, match='Did you mean "trim_streams"'):
            task_named(wrong)


def test_every_task_has_what_is_needed_to_run_it_by_hand() -> None:
    tasks = our_tasks()

    assert len({task.name for task in tasks}) == len(tasks) >= 20
    for task in tasks:
        assert task.queue in {"high", "medium", "low"}, task.name
        assert task.summary.endswith("."), task.name
        assert task.time_limit_seconds > task.soft_time_limit_seconds, task.name
        task.options_type()


def test_what_writes_has_a_dry_run() -> None:
    assert all(task.has_dry_run for task in our_tasks() if task.writes)


def test_a_second_task_of_the_same_name_is_refused() -> None:
    spec = task_named("trim_streams")

    def trim_streams(_job: object) -> object:
        return None

    with pytest.raises(ConfigurationError, match=r"Two tasks are named maintenance\.trim_streams"):
        register(replace(spec, function=trim_streams))
    assert task_named("trim_streams") is spec


def test_a_task_can_run_on_each_configured_target_of_its_kind() -> None:
    assert task_named("trim_streams").target_names(site()) == ["streams", "cache"]
    assert task_named("vacuum_analyze").target_names(site()) == ["site"]


def test_a_task_without_a_configured_target_still_has_a_line() -> None:
    spec = task_named("check_queue_depths")

    assert spec.target_names(site()) == [""]
    with pytest.raises(Skipped, match="not configured: there is no broker target"):
        spec.resolve_target(site(), "")


def test_a_target_of_another_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r'Unknown redis target "site"\. Known: cache, streams\.'):
        task_named("trim_streams").resolve_target(site(), "site")


def test_a_task_of_the_site_itself_takes_no_target() -> None:
    spec = task_named("trim_reports")

    assert spec.target_kind is TargetKind.NONE
    assert spec.resolve_target(site(), "") is None
    with pytest.raises(UnknownName, match="takes no target"):
        spec.resolve_target(site(), "site")
