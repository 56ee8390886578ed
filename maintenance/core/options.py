"""Typed options of tasks: plain frozen dataclasses, checked once where they enter."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from maintenance.core.errors import InvalidOptions
from maintenance.core.suggestions import did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NoOptions:
    """For tasks that take nothing but a target."""


@dataclass(frozen=True, slots=True)
class DryRunOption:
    """For tasks that write: ``dry_run`` stops after the plan."""

    dry_run: bool = False


def parse_options(options_type: type[T], given: Mapping[str, Any]) -> T:
    """Build ``options_type`` from untrusted values.

    Raises :class:`InvalidOptions` with every fault in one message; an unknown name gets a
    suggestion.
    """
    known = [f.name for f in fields(options_type)]  # type: ignore[arg-type]
    faults = [
        f'Unknown option "{name}". {did_you_mean(name, known)}'
        for name in given
        if name not in known
    ]
    if not faults:
        try:
            parsed: T = TypeAdapter(options_type).validate_python(dict(given))
        except ValidationError as error:
            faults = [
                f'Option "{".".join(map(str, e["loc"]))}": {e["msg"]}, got {e["input"]!r}.'
                for e in error.errors()
            ]
        else:
            return parsed
    raise InvalidOptions(" ".join(faults))
