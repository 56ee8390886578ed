"""Django system checks: bad configuration is refused at start, every fault at once."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, router

from maintenance.caching.querysets import InvalidatingQuerySet
from maintenance.caching.signals import rules
from maintenance.conf import Configuration, configuration
from maintenance.core.errors import ConfigurationError, UnknownName
from maintenance.core.suggestions import did_you_mean
from maintenance.redis.stream_classes import all_families


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
        *_ledger_engine(),
        *_ledger_alias(),
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


def _ledger_engine() -> list[checks.CheckMessage]:
    engine = settings.DATABASES["default"]["ENGINE"]
    if "postgresql" in engine or "postgis" in engine:
        return []
    return [
        checks.Error(
            f"The ledger needs PostgreSQL, but the default database uses {engine}.",
            hint="Its locks rest on partial unique indexes and row locks of PostgreSQL.",
            id="maintenance.E003",
        )
    ]


def _ledger_alias() -> list[checks.CheckMessage]:
    """Refuse a router that leads models of the ledger away from the default database.

    A slot, its run and the cursor of its schedule are written in one transaction of that database.
    """
    labels = ("maintenance", "django_celery_beat")
    led = {
        alias
        for label in labels
        for model in apps.get_app_config(label).get_models()
        for alias in (router.db_for_read(model), router.db_for_write(model))
        if alias != DEFAULT_DB_ALIAS
    }
    if not led:
        return []
    return [
        checks.Error(
            f"DATABASE_ROUTERS lead models of {' and '.join(labels)} to {', '.join(sorted(led))}: the"
            f' ledger is one database, the alias "{DEFAULT_DB_ALIAS}".',
            hint="Let the router leave these two applications alone, or run the crew as a service,"
            " with a database of its own.",
            id="maintenance.E009",
        )
    ]


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
