"""The configuration as a whole: read, checked, and all its faults told at once."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Self, TypeVar, get_origin

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from maintenance.conf.access import AccessTokens
from maintenance.conf.addresses import server_address
from maintenance.conf.caches import CacheTarget
from maintenance.conf.databases import DatabaseTarget
from maintenance.conf.deployments import DeploymentTarget
from maintenance.conf.joined import JoinFault, JoinFaults, faults_between
from maintenance.conf.load_test import LoadTestTarget
from maintenance.conf.logs import LogTarget
from maintenance.conf.media import MediaTarget
from maintenance.conf.notifications import NotificationSettings
from maintenance.conf.pings import PingTarget
from maintenance.conf.presets import KEY, merged
from maintenance.conf.redis import BrokerTarget, RedisRole, RedisTarget
from maintenance.conf.sites import SiteTarget
from maintenance.conf.streams import StreamFamily, StreamOwners
from maintenance.conf.thresholds import Thresholds
from maintenance.conf.values import Section, Timezone
from maintenance.core.errors import ConfigurationError
from maintenance.core.suggestions import did_you_mean, require_known
from maintenance.core.windows import WEEKDAYS, Window

SectionT = TypeVar("SectionT", bound=Section)

#: What pydantic says in words of Python, by its kinds of faults.
_IN_WORDS = {
    "missing": "is missing",
    "dict_type": "must be a table of settings",
    "model_type": "must be a table of settings",
    "tuple_type": "must be a list of values",
    "string_type": "must be text in quotes",
}


class HostTarget(Section):
    """File systems of the machine that a worker runs on."""

    paths: tuple[str, ...] = ("/",)


class ReportSettings(Section):
    """Where reports lie beside the ledger. ``storage`` is an alias of ``settings.STORAGES``."""

    storage: str = "maintenance"
    prefix: str = "reports"
    retention_days: int = Field(default=400, gt=0)  # a year and a month: last year stays comparable


class Configuration(Section):
    """Everything that the operator decides. ``preset`` lies under it: :mod:`maintenance.conf.presets`."""

    preset: str = ""
    databases: Mapping[str, DatabaseTarget] = Field(default_factory=dict)
    redis: Mapping[str, RedisTarget] = Field(default_factory=dict)
    brokers: Mapping[str, BrokerTarget] = Field(default_factory=dict)
    streams: Mapping[str, StreamFamily] = Field(default_factory=dict)
    stream_owners: Mapping[str, StreamOwners] = Field(default_factory=dict)
    caches: Mapping[str, CacheTarget] = Field(default_factory=dict)
    hosts: Mapping[str, HostTarget] = Field(default_factory=lambda: {"local": HostTarget()})
    media: Mapping[str, MediaTarget] = Field(default_factory=dict)
    sites: Mapping[str, SiteTarget] = Field(default_factory=dict)
    logs: Mapping[str, LogTarget] = Field(default_factory=dict)
    deployments: Mapping[str, DeploymentTarget] = Field(default_factory=dict)
    load_test: Mapping[str, LoadTestTarget] = Field(default_factory=dict)
    pings: Mapping[str, PingTarget] = Field(default_factory=dict)
    notifications: NotificationSettings = Field(default_factory=NotificationSettings)
    hook_modules: tuple[str, ...] = ()  # imported at start; they register warmers and checks
    thresholds: Thresholds = Field(default_factory=Thresholds)
    reports: ReportSettings = Field(default_factory=ReportSettings)
    access: AccessTokens = Field(default_factory=AccessTokens)
    # A message that has no row of the ledger, or says otherwise than its row, does nothing: who can write to
    # the broker alone starts nothing. Off where application code sends messages of its own.
    recorded_runs_only: bool = False
    performance_log: str = ""  # what the query profiler writes; "": as this process logs itself
    timezone: Timezone = "UTC"
    flower_url: str = ""
    tracing: bool = False  # spans for OpenTelemetry: needs the extra otel

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        faults = tuple(faults_between(self))
        if faults:
            raise JoinFaults(faults)
        return self

    def windows_of(self, target: Any) -> tuple[Window, ...]:
        """Return a target's maintenance windows, none for a target without any."""
        return tuple(
            Window(
                start=window.start,
                end=window.end,
                timezone=window.timezone or self.timezone,
                days=frozenset(WEEKDAYS.index(day) for day in window.days),
            )
            for window in getattr(target, "windows", ())
        )

    def families_on(self, redis_name: str) -> dict[str, StreamFamily]:
        """Return the configured stream families that live on one Redis target."""
        return {name: f for name, f in self.streams.items() if f.redis == redis_name}

    def roles_on(self, redis_name: str) -> tuple[RedisRole, ...]:
        """Return all that one Redis server serves as, sorted: its role and those of its neighbours.

        Targets, brokers, caches and streams that lie on the same host and port share its memory
        and its policy, whatever their database number.
        """
        address = server_address(self.redis[redis_name].url)
        roles: set[RedisRole] = {
            target.role for target in self.redis.values() if server_address(target.url) == address
        }
        if any(server_address(broker.url) == address for broker in self.brokers.values()):
            roles.add("broker")
        if any(
            cache.url and server_address(cache.url) == address for cache in self.caches.values()
        ):
            roles.add("cache")
        if any(
            server_address(self.redis[family.redis].url) == address
            for family in self.streams.values()
        ):
            roles.add("streams")
        return tuple(sorted(roles))

    def database(self, name: str) -> DatabaseTarget:
        """Return one database target. Raises ``UnknownName`` with a suggestion."""
        return self.databases[require_known("database", name, self.databases)]


def parse_configuration(given: Mapping[str, Any] | None) -> Configuration:
    """Check the whole mapping, over the preset that it names.

    Raises :class:`ConfigurationError` listing every fault at once.
    """
    parsed, faults = sound_part(given)
    if faults:
        raise ConfigurationError("\n".join(faults))
    return parsed


def sound_part(given: Mapping[str, Any] | None) -> tuple[Configuration, list[str]]:
    """Return what of the mapping can be used, and every fault of the rest.

    For whoever tells all that is wrong at once: a target with a fault is left out, and so is what
    names it.
    """
    if not isinstance(given, Mapping):
        return Configuration(), [f"configuration: {_IN_WORDS['model_type']}."]
    whole, faults = _over_its_preset(given)
    mapping = whole
    while True:
        try:
            return Configuration.model_validate(mapping), list(dict.fromkeys(faults))
        except ValidationError as error:
            faults += _faults(error, given=whole)
            sound = _without_faults(mapping, error)
            # Each round leaves something out, so that there is a last one.
            mapping = sound if _size(sound) < _size(mapping) else {}


def _size(mapping: Mapping[str, Any]) -> int:
    return len(mapping) + sum(len(one) for one in mapping.values() if isinstance(one, Mapping))


def _without_faults(mapping: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """Take out the targets and settings that the error names, or all that joins several of them."""
    sound = {key: dict(v) if isinstance(v, Mapping) else v for key, v in mapping.items()}
    for fault in error.errors():
        match fault["loc"]:
            case (str(section), str(name), *_) if isinstance(sound.get(section), dict):
                sound[section].pop(name, None)
            case (str(section), *_):
                sound.pop(section, None)
            case _:
                for joined in _join_faults(fault):
                    sound[joined.section].pop(joined.target, None)
    return sound


def _join_faults(fault: Any) -> tuple[JoinFault, ...]:
    error = fault.get("ctx", {}).get("error")
    return error.faults if isinstance(error, JoinFaults) else ()


def _over_its_preset(given: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Return the mapping with its preset under it, or as it is with the reason why not."""
    if not given.get(KEY):
        return given, []
    try:
        return merged(given).mapping, []
    except ConfigurationError as error:
        return {key: value for key, value in given.items() if key != KEY}, [str(error)]


def checked(kind: type[SectionT], given: Mapping[str, Any]) -> SectionT:
    """Check a mapping as one kind of section. Raises :class:`ConfigurationError` with all faults."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_faults(error, kind))) from None


def _faults(
    error: ValidationError,
    kind: type[Section] = Configuration,
    given: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Say each fault. Of ``given`` is what is there, though it may have a fault of its own."""
    for fault in error.errors():
        joined = _join_faults(fault)
        if joined:
            yield from _sentences(joined, given or {})
            continue
        path = [str(part) for part in fault["loc"]]
        where = ".".join(path) or "configuration"
        if fault["type"] == "extra_forbidden":
            known = _known_keys(path[:-1], kind)
            yield f"{where}: unknown setting. {did_you_mean(path[-1], known)}"
        else:
            # The rejected value is left out: it may be a URL with a password.
            said = _IN_WORDS.get(fault["type"], fault["msg"])
            message = said.removeprefix("Value error, ").rstrip(".")
            yield f"{where}: {message}{'' if message.endswith('?') else '.'}"


def _sentences(faults: Sequence[JoinFault], given: Mapping[str, Any]) -> Iterator[str]:
    for fault in faults:
        section, name = fault.named
        if name in (given.get(section) or {}):
            continue  # it is there, and its own fault has been told
        message = fault.sentence
        yield f"configuration: {message}{'' if message.endswith('?') else '.'}"


def sentence_of_faults(error: ValidationError) -> str:
    """Say every fault of one section in a sentence each."""
    return " ".join(_faults(error))


def _known_keys(path: list[str], kind: type[Section]) -> list[str]:
    """Return the setting names that are known at ``path``; names of targets are skipped over."""
    section: Any = kind
    for part in path:
        if isinstance(section, type) and issubclass(section, Section):
            section = section.model_fields[part].annotation
        elif part.isdecimal() and get_origin(section) is tuple:
            section = section.__args__[0]
        else:  # inside a mapping: this part is a target's own name
            section = section.__args__[1]
    return list(section.model_fields) if hasattr(section, "model_fields") else []


@cache
def configuration() -> Configuration:
    """Return the checked ``settings.MAINTENANCE``. Raises :class:`ConfigurationError`.

    Cached for the life of the process; ``setting_changed`` clears it in tests.
    """
    from django.conf import settings  # noqa: PLC0415 - the pure parts need no Django

    return parse_configuration(getattr(settings, "MAINTENANCE", {}))
