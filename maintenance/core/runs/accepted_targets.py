"""The configuration with the targets that a person accepted."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils import timezone

from maintenance.conf import Configuration, configuration
from maintenance.core.errors import UnknownName
from maintenance.models import AcceptedTarget


def configuration_in_force() -> Configuration:
    """Return the configuration with accepted targets in the place of its own.

    One query of a few rows. Raises Django's ``DatabaseError`` where the ledger cannot be read.
    """
    return with_targets(configuration(), AcceptedTarget.objects.all())


def with_targets(configured: Configuration, accepted: Iterable[AcceptedTarget]) -> Configuration:
    """Return a copy in which what was accepted holds, as far as it is in force."""
    thresholds: dict[str, Any] = {}
    brokers = dict(configured.brokers)
    for row in accepted:
        if not is_in_force(row, configured):
            continue
        value = _in_type_of(configured_value(configured, row.setting, row.target), row.value)
        if row.target:
            brokers[row.target] = brokers[row.target].model_copy(update={row.setting: value})
        else:
            thresholds[row.setting] = value
    return configured.model_copy(
        update={
            "thresholds": configured.thresholds.model_copy(update=thresholds),
            "brokers": brokers,
        }
    )


def is_in_force(row: AcceptedTarget, configured: Configuration) -> bool:
    """Tell whether the configuration still says what was replaced."""
    try:
        return float(configured_value(configured, row.setting, row.target)) == row.replaces
    except UnknownName:
        return False


def configured_value(configured: Configuration, setting: str, target: str) -> Any:
    """Return what the configuration says. Raises ``UnknownName`` for what it does not have."""
    section: Any = configured.brokers.get(target) if target else configured.thresholds
    if section is None or setting not in type(section).model_fields:
        raise UnknownName(
            f'The configuration has no target "{setting}"{f" of {target}" * bool(target)}.'
        )
    return getattr(section, setting)


def accept(proposal: Mapping[str, Any], actor: str) -> tuple[AcceptedTarget, bool]:
    """Put a proposal of ``review_performance_targets`` in force; return it, and whether it is new.

    Raises ``UnknownName`` where the configuration does not have its setting any more.
    """
    setting, target = str(proposal["setting"]), str(proposal["target"])
    return AcceptedTarget.objects.update_or_create(
        setting=setting,
        target=target,
        defaults={
            "value": float(proposal["value"]),
            "replaces": float(configured_value(configuration(), setting, target)),
            "reason": str(proposal["reason"]),
            "accepted_by": actor,
            "accepted_at": timezone.now(),
        },
    )


def _in_type_of(configured: Any, value: float) -> float | int:
    return round(value) if isinstance(configured, int) else value
