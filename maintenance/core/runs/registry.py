"""Every task that exists, with what is needed to run it by hand, by schedule or by command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from maintenance.conf import Configuration, Dangerous
from maintenance.core.backoff import RetryPolicy
from maintenance.core.errors import ConfigurationError, Skipped, UnknownName
from maintenance.core.job import Job
from maintenance.core.rates import RateLimit
from maintenance.core.reports import Report
from maintenance.core.suggestions import did_you_mean, require_known

PREFIX = "maintenance."


class TargetKind(StrEnum):
    """Which section of the configuration names a task's targets; ``none`` for the site itself."""

    DATABASE = "database"
    REDIS = "redis"
    BROKER = "broker"
    CACHE = "cache"
    HOST = "host"
    MEDIA = "media"
    SITE = "site"
    LOG = "log"
    DEPLOYMENT = "deployment"
    LOAD_TEST = "load_test"
    NONE = "none"

    def targets(self, configuration: Configuration) -> Mapping[str, Any]:
        """Return the configured targets of this kind by name; for ``none`` a single unnamed one."""
        sections: dict[TargetKind, Mapping[str, Any]] = {
            TargetKind.DATABASE: configuration.databases,
            TargetKind.REDIS: configuration.redis,
            TargetKind.BROKER: configuration.brokers,
            TargetKind.CACHE: configuration.caches,
            TargetKind.HOST: configuration.hosts,
            TargetKind.MEDIA: configuration.media,
            TargetKind.SITE: configuration.sites,
            TargetKind.LOG: configuration.logs,
            TargetKind.DEPLOYMENT: configuration.deployments,
            TargetKind.LOAD_TEST: configuration.load_test,
            TargetKind.NONE: {"": None},
        }
        return sections[self]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task: its name, where it runs, what it takes and what it may do.

    The time limits are Celery's, in seconds; a server's own statement timeout comes first.
    ``writes`` marks a task that changes a target: it has a dry run and a permission of its own.
    ``dangerous`` marks one that can harm a site: it runs only on targets whose ``allow`` names it.
    ``shared_resource`` is what it may not work on beside other tasks of the same name for it, by
    default only beside itself. ``max_concurrent`` limits its runs on all targets and workers together.
    ``tidies_with`` names the option with which a run only takes away what an earlier one left: it holds
    nobody up for long and needs no window, and comes by itself where workers died of a run.
    ``needs_plan`` is for what a person confirms on its figures alone: those of a dry run with the same
    options that is not old.
    """

    name: str
    function: Callable[[Job[Any, Any]], Report]
    queue: str
    target_kind: TargetKind
    options_type: type[Any]
    summary: str
    writes: bool
    retry: RetryPolicy
    rate_limit: RateLimit | None
    soft_time_limit_seconds: float
    time_limit_seconds: float
    dangerous: Dangerous | None = None
    shared_resource: str = ""
    max_concurrent: int | None = None
    tidies_with: str = ""
    needs_plan: bool = False

    @property
    def short_name(self) -> str:
        """The name without the package: ``vacuum_analyze``."""
        return self.name.removeprefix(PREFIX)

    @property
    def resource(self) -> str:
        """What of its target a run has to itself: no two runs of one resource are at work at once."""
        return self.shared_resource or self.name

    def resource_of(self, options: Mapping[str, Any]) -> str:
        """Return the resource of a run with these options: a dry run stands in nobody's way."""
        return self.name if self._is_dry_run(options) else self.resource

    def _is_dry_run(self, options: Mapping[str, Any]) -> bool:
        default = any(f.name == "dry_run" and f.default is True for f in fields(self.options_type))
        return bool(options.get("dry_run", default))

    def only_tidies(self, options: Mapping[str, Any]) -> bool:
        """Tell whether a run with these options only takes away what an earlier one left."""
        return bool(self.tidies_with and options.get(self.tidies_with))

    @property
    def has_dry_run(self) -> bool:
        """Whether the options include ``dry_run``."""
        return any(f.name == "dry_run" for f in fields(self.options_type))

    def target_names(self, configuration: Configuration) -> list[str]:
        """Return the names of the targets that this task can run on.

        Never empty: where nothing of the kind is configured it is ``[""]``, whose run is recorded
        as skipped, so that a line of a checklist is never silently absent.
        """
        return list(self.target_kind.targets(configuration)) or [""]

    def resolve_target(self, configuration: Configuration, name: str) -> Any:
        """Return the configured target.

        Raises ``UnknownName`` with a suggestion, and ``Skipped`` where ``name`` is empty because
        no target of this kind is configured at all.
        """
        targets = self.target_kind.targets(configuration)
        if self.target_kind is TargetKind.NONE and name:
            raise UnknownName(f"The task {self.short_name} takes no target, got {name!r}.")
        if not name and not targets:
            raise Skipped(f"not configured: there is no {self.target_kind} target")
        if self.target_kind is not TargetKind.NONE:
            require_known(f"{self.target_kind} target", name, targets)
        return targets[name]


_specs: dict[str, TaskSpec] = {}


def register(spec: TaskSpec) -> None:
    """Add a task. Raises ``ConfigurationError`` if another one has the name."""
    present = _specs.get(spec.name)
    if present is not None and present.function.__module__ != spec.function.__module__:
        raise ConfigurationError(
            f"Two tasks are named {spec.name}: in {present.function.__module__} and"
            f" {spec.function.__module__}. Rename one."
        )
    _specs[spec.name] = spec


def all_tasks() -> list[TaskSpec]:
    """Return every registered task, sorted by name."""
    return sorted(_specs.values(), key=lambda spec: spec.name)


def is_registered(name: str) -> bool:
    """Tell whether a task has this full name."""
    return name in _specs


def task_named(name: str) -> TaskSpec:
    """Return a task by full or short name. Raises ``UnknownName`` with a suggestion."""
    full = name if name.startswith(PREFIX) else PREFIX + name
    for candidate in (name, full):
        if candidate in _specs:
            return _specs[candidate]
    short_names = [spec.short_name for spec in _specs.values()]
    raise UnknownName(
        f'Unknown task "{name}". {did_you_mean(name.removeprefix(PREFIX), short_names)}'
    )
