"""``maintenance run``: one task by hand, on a worker or in this process."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from pydantic_core import to_jsonable_python

from maintenance.commands import arguments
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import document_of
from maintenance.commands.crew.person import person_at_the_terminal
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.crew.watching import StillGoing, watch
from maintenance.commands.exit_codes import ExitCode, of_run
from maintenance.conf import configuration
from maintenance.core.errors import InvalidOptions
from maintenance.core.findings import Severity
from maintenance.core.options import parse_options
from maintenance.core.runs.dispatch import record_run, start_run
from maintenance.core.runs.fresh_plans import fresh_plan
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin, previous_document
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.models import Run, RunState, Trigger
from maintenance.reports.plan_figures import figures_of
from maintenance.reports.publication import in_timezone, of_document


def run_task(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Run a task and print its report; the exit code is its verdict."""
    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    spec = task_named(options["task"])
    target = _chosen_target(spec, options["target"])
    given = _task_options(spec, options["option"] or (), dry_run=options["dry_run"])
    _require_yes(spec, given, is_given=options["yes"])
    if spec.needs_plan and not given.get("dry_run"):
        _confirm_on_plan(command, spec, target, given)
    origin = Origin(trigger=Trigger.CLI, actor=person_at_the_terminal())
    if options["now"]:
        run = _work_now(command, record_run(spec, target, given, origin))
    else:
        run = start_run(spec, target, given, origin)
        run.refresh_from_db()
        if run.published_at is None and run.state == RunState.QUEUED:  # a worker may be faster
            command.note(
                "The broker does not answer: the run is recorded, and beat sends it when the"
                " broker is back."
            )
        if options["no_wait"]:
            as_json = choice.format_name == "json"
            command.stdout.write(json.dumps({"run_id": str(run.id)}) if as_json else str(run.id))
            return ExitCode.HEALTHY
    try:
        run = watch(run, command.note, options["timeout"])
    except StillGoing as still:
        command.note(str(still))
        return ExitCode.NOT_MEASURED
    return _conclude(command, run, choice, fail_on)


def _work_now(command: MaintenanceCommand, run: Run) -> Run:
    return work_here(run, lambda seconds: command.note(f"Next attempt in {seconds:.0f} s."))


def _conclude(
    command: MaintenanceCommand, run: Run, choice: OutputChoice, fail_on: Severity
) -> ExitCode:
    document = document_of(run)
    here = in_timezone(document, timezone.get_current_timezone())
    command.publish(of_document(here, previous_document(run)), choice)
    return of_run(run.state, document.report, fail_on, document.severity)


def _chosen_target(spec: TaskSpec, given: str | None) -> str:
    """Return the target to run on. Raises ``InvalidOptions`` where it must be named and is not."""
    if given is not None:
        return given  # start_run knows the names, and suggests one
    names = spec.target_names(configuration())
    if len(names) == 1:
        return names[0]
    raise InvalidOptions(
        f"{spec.short_name} can run on {', '.join(names)}. Choose one with --target."
    )


def _task_options(spec: TaskSpec, pairs: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    """Return the options as they go into the ledger. Raises ``InvalidOptions``."""
    given = dict(_pair(text) for text in pairs)
    if dry_run:
        if not spec.has_dry_run:
            raise InvalidOptions(
                f"{spec.short_name} has no dry run: it changes nothing."
                f" Just run it: python manage.py maintenance run {spec.short_name}"
            )
        given["dry_run"] = True
    parsed = parse_options(spec.options_type, given)
    return {name: to_jsonable_python(getattr(parsed, name)) for name in given}


def _require_yes(spec: TaskSpec, given: dict[str, Any], *, is_given: bool) -> None:
    """Raise ``InvalidOptions`` for what can harm a site, unless it is a dry run or wanted so."""
    if spec.dangerous and not given.get("dry_run") and not is_given:
        raise InvalidOptions(
            f"{spec.short_name} can harm a site: {spec.summary} Read its plan with --dry-run,"
            " then run it with --yes."
        )


def _confirm_on_plan(
    command: MaintenanceCommand, spec: TaskSpec, target: str, given: dict[str, Any]
) -> None:
    """Print the figures that ``--yes`` stands for.

    Raises ``InvalidOptions`` where nobody can have read them, and what :meth:`TaskSpec.resolve_target` does.
    """
    spec.resolve_target(configuration(), target)
    plan = fresh_plan(spec, target, given)
    if plan is None:
        raise InvalidOptions(
            f"{spec.short_name} is confirmed on its plan alone, which says what it will cost: a dry"
            " run with these options, within the last hour, and no other run of it since. Read its"
            " plan with --dry-run, then run it with --yes."
        )
    command.note("What its plan foretells:")
    for subject, figures in figures_of(document_of(plan).report):
        command.note(f"  {subject}: {figures}")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidOptions(f'The option "{text}" is not understood. Write --option name=value.')
    return name.strip().replace("-", "_"), _value(value)


def _value(text: str) -> Any:
    """Read lists, mappings, quoted text and null as JSON; the option's type reads the rest."""
    if text == "null" or text[:1] in {"[", "{", '"'}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _add_task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="See: python manage.py maintenance list")
    parser.add_argument(
        "--target", metavar="TARGET", help="Needed where the task has more than one target."
    )
    parser.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="An option of the task; may be given again. Lists and mappings are JSON.",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_task_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="Stop after the plan; change nothing."
    )
    parser.add_argument(
        "--yes", action="store_true", help="Run what can harm a site; needed for such a task only."
    )
    _add_waiting_arguments(parser)


def _add_waiting_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--now", action="store_true", help="Work in this process, without broker or worker."
    )
    where.add_argument(
        "--queue", action="store_true", help="Send it to a worker; this is the default."
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="Print the run's id and do not wait for its end."
    )
    parser.add_argument(
        "--timeout",
        type=arguments.not_negative,
        metavar="SECONDS",
        help="Wait at most this long, then exit with 2; the run goes on.",
    )
    arguments.add_fail_on_argument(parser)
    arguments.add_output_arguments(parser)


def _add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    _add_task_arguments(parser)
    _add_waiting_arguments(parser)


def show_plan(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Run a task up to its plan and print that; nothing is changed."""
    return run_task(command, {**options, "dry_run": True, "yes": False})


SUBCOMMAND = Subcommand(
    "run", "Run one task by hand and print its report.", _add_arguments, run_task
)
PLAN = Subcommand(
    "plan",
    "Show what a task would do: its dry run, which changes nothing.",
    _add_plan_arguments,
    show_plan,
)
