"""Django system checks: bad configuration is refused at start, every fault at once."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections, router
from django_celery_beat.models import PeriodicTask

from maintenance.caching.querysets import InvalidatingQuerySet
from maintenance.caching.signals import rules
from maintenance.conf import Configuration, configuration
from maintenance.core.errors import ConfigurationError, UnknownName
from maintenance.core.runs.ledger_network import NOTICES_A_LOST_LEDGER
from maintenance.core.suggestions import did_you_mean
from maintenance.core.wording import listed
from maintenance.models import SchedulePolicy
from maintenance.redis.stream_classes import all_families

#: Whose tables the ledger is: one policy stands beside one row of django-celery-beat, and so on.
_LEDGER_APPS = ("maintenance", "django_celery_beat")


@checks.register("maintenance")
def check_configuration(
    app_configs: Sequence[Any] | None,  # noqa: ARG001 - Django's signature
    **_kwargs: Any,
) -> list[checks.CheckMessage]:
    """Report every fault in ``settings.MAINTENANCE``."""
    configuration.cache_clear()
    try:
        parsed = configuration()
    except ConfigurationError as error:
        return [
            checks.Error(
                fault,
                hint="Correct this key of MAINTENANCE (in the service: of maintenance.toml).",
                id="maintenance.E001",
            )
            for fault in str(error).splitlines()
        ]
    return [
        *_unknown_aliases(parsed),
        *_ledger_database(),
        *_report_storage(parsed),
        *_media_storages(parsed),
        *_stream_classes(parsed),
        *_log_formats(parsed),
    ]


def _unknown_aliases(parsed: Configuration) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    for section, targets, known in (
        ("databases", parsed.databases, settings.DATABASES),
        ("caches", parsed.caches, settings.CACHES),
    ):
        for name, target in targets.items():
            if target.alias and target.alias not in known:
                found.append(
                    checks.Error(
                        f"{section}.{name}.alias: Django has no {section[:-1]} "
                        f'"{target.alias}". {did_you_mean(target.alias, known)}',
                        hint=f"Name an alias of settings.{section.upper()}, or give a url.",
                        id="maintenance.E002",
                    )
                )
    return found


def _ledger_database() -> list[checks.CheckMessage]:
    """Refuse routers that part the ledger, and a database that cannot hold it.

    A slot, its run and the cursor of its schedule are written in one transaction of one database.
    """
    models = [model for label in _LEDGER_APPS for model in apps.get_app_config(label).get_models()]
    led = {router.db_for_write(model) for model in models}
    fault = _parted(led | {router.db_for_read(model) for model in models})
    if fault is None:
        [alias] = led
        fault = _unusable(alias) or _without_relations(alias) or _deaf(alias)
    return [] if fault is None else [fault]


def _parted(aliases: set[str]) -> checks.CheckMessage | None:
    if len(aliases) == 1:
        return None
    return checks.Error(
        f"DATABASE_ROUTERS lead models of {' and '.join(_LEDGER_APPS)} to {listed(sorted(aliases))}:"
        " the ledger is one database, for reading and for writing.",
        hint=f"Let the routers answer one alias for {' and '.join(_LEDGER_APPS)}, also for reading:"
        " a replica is behind what was just written.",
        id="maintenance.E009",
    )


def _unusable(alias: str) -> checks.CheckMessage | None:
    if alias not in settings.DATABASES:
        return checks.Error(
            f'DATABASE_ROUTERS lead the ledger to "{alias}", which DATABASES does not have.'
            f" {did_you_mean(alias, settings.DATABASES)}",
            hint="Add it to DATABASES, or let the routers name another alias.",
            id="maintenance.E009",
        )
    if connections[alias].vendor == "postgresql":
        return None
    return checks.Error(
        f'The ledger needs PostgreSQL, but the database "{alias}" uses'
        f" {settings.DATABASES[alias]['ENGINE']}.",
        hint="Its locks rest on partial unique indexes and row locks of PostgreSQL. DATABASE_ROUTERS"
        " can lead it to a PostgreSQL database of its own.",
        id="maintenance.E003",
    )


def _without_relations(alias: str) -> checks.CheckMessage | None:
    policy, row = SchedulePolicy(), PeriodicTask()
    policy._state.db = row._state.db = alias
    if router.allow_relation(row, policy):
        return None
    return checks.Error(
        f"DATABASE_ROUTERS allow no relation between {' and '.join(_LEDGER_APPS)}.",
        hint="allow_relation(...) has to be true or None where both objects are of these applications.",
        id="maintenance.E009",
    )


def _deaf(alias: str) -> checks.CheckMessage | None:
    """Warn where nothing would tell beats and workers that the ledger's host is gone without a word."""
    database = settings.DATABASES[alias]
    hosts = _hosts_over_a_network(database)
    # Other systems know no such option.
    if sys.platform != "linux" or not hosts or "tcp_user_timeout" in database.get("OPTIONS", {}):
        return None
    options = ", ".join(f'"{name}": {value}' for name, value in NOTICES_A_LOST_LEDGER.items())
    return checks.Warning(
        f'The ledger\'s database "{alias}" ({listed(hosts)}) has no tcp_user_timeout in its OPTIONS: where its'
        " host is gone without a word, as in a failover, beats and workers wait for it for a quarter of an"
        " hour and more, and no slot is sent.",
        hint=f'Add to it: "OPTIONS": {{{options}}}.',
        id="maintenance.W001",
    )


def _hosts_over_a_network(database: Mapping[str, Any]) -> list[str]:
    """Return the hosts of an entry of DATABASES that are neither Unix sockets nor this machine."""
    named = str(database.get("HOST") or database.get("OPTIONS", {}).get("host") or "")
    hosts = (host.strip() for host in named.split(","))
    return [
        host for host in hosts if host and not host.startswith(("/", "@")) and not _is_here(host)
    ]


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _report_storage(parsed: Configuration) -> list[checks.CheckMessage]:
    alias = parsed.reports.storage
    if alias in settings.STORAGES:
        return []
    return [
        checks.Error(
            f'reports.storage: settings.STORAGES has no "{alias}".'
            f" {did_you_mean(alias, settings.STORAGES)}",
            hint="Add the alias to STORAGES, or name another one.",
            id="maintenance.E004",
        )
    ]


def _media_storages(parsed: Configuration) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f'media.{name}.storage: settings.STORAGES has no "{target.storage}".'
            f" {did_you_mean(target.storage, settings.STORAGES)}",
            hint="Name an alias of settings.STORAGES, or give a path.",
            id="maintenance.E008",
        )
        for name, target in parsed.media.items()
        if target.storage and target.storage not in settings.STORAGES
    ]


@checks.register("maintenance")
def check_time_zone_support(
    app_configs: Sequence[Any] | None,  # noqa: ARG001 - Django's signature
    **_kwargs: Any,
) -> list[checks.CheckMessage]:
    """Refuse ``USE_TZ = False``: a slot is a moment, and is compared with times of the ledger."""
    if settings.USE_TZ:
        return []
    return [
        checks.Error(
            "USE_TZ is False: times of the ledger would come without their zone, so that beat starts"
            " no run and pages of the admin fail.",
            hint="Set USE_TZ = True (Django's own default). What that means for times that your models"
            " have stored says Django's documentation, Time zones, Migration guide.",
            id="maintenance.E011",
        )
    ]


@checks.register("maintenance")
def check_invalidation_rules(
    app_configs: Sequence[Any] | None,  # noqa: ARG001 - Django's signature
    **_kwargs: Any,
) -> list[checks.CheckMessage]:
    """Name the models whose bulk operations drop nothing, and caches that do not exist."""
    found: list[checks.CheckMessage] = []
    uncovered: dict[type[Any], None] = {}
    for rule in rules():
        name = f"{rule.model.__module__}.{rule.model.__qualname__}"
        if rule.cache not in settings.CACHES:
            found.append(
                checks.Error(
                    f"invalidates({name}, ...): Django has no cache"
                    f' "{rule.cache}". {did_you_mean(rule.cache, settings.CACHES)}',
                    hint="Name an alias of settings.CACHES.",
                    obj=rule.model,
                    id="maintenance.E005",
                )
            )
        manager = getattr(rule.model, "_default_manager", None)
        if manager is not None and not isinstance(manager.all(), InvalidatingQuerySet):
            uncovered[rule.model] = None
    found += [
        checks.Info(
            "update(), bulk_create() and bulk_update() send no signals: they change rows of this"
            " model without dropping what invalidates() names.",
            hint=(
                "objects = InvalidatingQuerySet.as_manager() covers them; or call"
                " invalidate_on_commit() beside each, and silence maintenance.I001."
            ),
            obj=model,
            id="maintenance.I001",
        )
        for model in uncovered
    ]
    return found


def _stream_classes(parsed: Configuration) -> list[checks.CheckMessage]:
    try:
        all_families(parsed)
    except (ConfigurationError, UnknownName) as error:
        return [
            checks.Error(
                str(error),
                hint="Correct the class in its maintenance_hooks.py, or the family in MAINTENANCE.",
                id="maintenance.E006",
            )
        ]
    return []


def _log_formats(parsed: Configuration) -> Iterator[checks.CheckMessage]:
    if not parsed.logs:
        return
    from maintenance.web.log_rows import row_reader  # noqa: PLC0415 - few processes read logs

    for name, target in parsed.logs.items():
        try:
            row_reader(target.format, target.fields, target.timezone or parsed.timezone)
        except ConfigurationError as error:
            yield checks.Error(
                f"logs.{name}.format: {error}",
                hint="Copy log_format (Nginx) or LogFormat (Apache) from the server's configuration.",
                id="maintenance.E007",
            )
