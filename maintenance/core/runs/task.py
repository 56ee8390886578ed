"""The decorator that makes a line of work a scheduled, recorded, retried Celery task."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from celery import Task, shared_task

from maintenance.conf import Dangerous
from maintenance.core.backoff import RetryPolicy
from maintenance.core.errors import ConfigurationError
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.rates import RateLimit
from maintenance.core.reports import Report
from maintenance.core.runs.registry import (
    PREFIX,
    TargetKind,
    TaskSpec,
    register,
    task_named,
)

QUEUES = ("high", "medium", "low")

Work = Callable[[Job[Any, Any]], Report]


class CheckedTask(Task[Any, Any]):
    """A Celery task whose messages are checked before they are unpacked.

    For all tasks of an application: ``Celery("yoursite", task_cls="maintenance.core.runs.task:CheckedTask")``.
    """

    abstract = True
    Strategy = "maintenance.core.runs.message_strategy:checked"


class QueuedTask(CheckedTask):
    """A Celery task that goes to the queue of its own decorator unless told otherwise.

    Routing stands with the task, so a project that embeds the app needs no ``task_routes``;
    Celery deprecates the ``queue`` attribute that did this before.
    """

    abstract = True
    #: The ledger counts attempts and waits. Celery's own limit (3) would end a run that waits for
    #: its rate limit, or that its task wants tried more often.
    max_retries = None

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send the task; see :meth:`celery.app.task.Task.apply_async`."""
        options.setdefault("queue", task_named(str(self.name)).queue)
        return super().apply_async(*args, **options)


def maintenance_task(
    *,
    queue: str,
    target: TargetKind,
    options: type[Any] = NoOptions,
    writes: bool = False,
    dangerous: Dangerous | None = None,
    retry: RetryPolicy | None = None,
    rate_limit: str | None = None,
    max_concurrent: int | None = None,
    resource: str = "",
    tidies_with: str = "",
    needs_plan: bool = False,
    soft_time_limit_seconds: float = 1800.0,
    time_limit_seconds: float | None = None,
) -> "Callable[[Work], Task[Any, Any]]":
    """Register the decorated function as the task ``maintenance.<its name>``.

    The function takes a :class:`~maintenance.core.job.Job` and returns a
    :class:`~maintenance.core.reports.Report`; everything else follows: a ledger row, a lease, a
    lock on (task, target), progress, retries with exponential backoff and full jitter, a report
    in the log store, a Run now button, a command and a place in Flower. The message carries
    ``target`` and ``options`` only.

    ``rate_limit`` is in Celery's notation but holds over all workers, as ``max_concurrent`` does,
    the number of its runs at work at once. Tasks with the same ``resource`` never work beside each
    other on one target: a run waits until the other task's has ended. ``tidies_with`` is an option
    that makes a run tidy up after others alone; with ``needs_plan`` nobody starts a run by hand
    without the figures of its dry run (see :class:`~maintenance.core.runs.registry.TaskSpec`).
    ``time_limit_seconds`` defaults to a minute above the soft limit. A ``dangerous`` task is off until
    the configuration of a target allows it, and can be looked at in a dry run before. Raises
    ``ConfigurationError`` for an unknown queue, for a dangerous task that does not write or has no dry
    run, and where there is no such option.
    """
    if queue not in QUEUES:
        raise ConfigurationError(f'Unknown queue "{queue}". Known: {", ".join(QUEUES)}.')

    def decorate(function: Work) -> "Task[Any, Any]":
        spec = TaskSpec(
            name=PREFIX + function.__name__,
            function=function,
            queue=queue,
            target_kind=target,
            options_type=options,
            summary=(function.__doc__ or "").strip().partition("\n")[0],
            writes=writes,
            retry=retry or RetryPolicy(),
            rate_limit=RateLimit.parse(rate_limit) if rate_limit else None,
            soft_time_limit_seconds=soft_time_limit_seconds,
            time_limit_seconds=time_limit_seconds or soft_time_limit_seconds + 60.0,
            dangerous=dangerous,
            shared_resource=resource,
            max_concurrent=max_concurrent,
            tidies_with=tidies_with,
            needs_plan=needs_plan,
        )
        if spec.dangerous and not (spec.writes and spec.has_dry_run):
            raise ConfigurationError(
                f"The task {spec.short_name} is dangerous: give it writes=True and a dry run."
            )
        if tidies_with and tidies_with not in {field.name for field in fields(options)}:
            raise ConfigurationError(
                f'The task {spec.short_name} has no option "{tidies_with}" to tidy up with.'
            )
        register(spec)

        def run(
            self: "Task[Any, Any]", target: str = "", options: Mapping[str, Any] | None = None
        ) -> dict[str, Any]:
            # Imported late: the runner needs the ledger's models, which need Django's registry.
            from maintenance.core.runs.runner import execute  # noqa: PLC0415

            return execute(self, spec, target, options or {})

        run.__doc__ = function.__doc__
        run.__module__ = function.__module__
        run.__name__ = run.__qualname__ = function.__name__
        task: Task[Any, Any] = shared_task(
            bind=True,
            base=QueuedTask,
            name=spec.name,
            soft_time_limit=int(soft_time_limit_seconds),
            time_limit=int(spec.time_limit_seconds),
            acks_late=True,
            # The ledger keeps the result. Celery would subscribe every sender, beat and the web
            # process among them, to a channel a task.
            ignore_result=True,
            store_errors_even_if_ignored=True,
        )(run)
        return task

    return decorate
