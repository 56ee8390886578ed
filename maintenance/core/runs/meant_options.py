"""What the options of a run mean, however they were written: with their defaults, in their own types."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from maintenance.core.errors import MaintenanceError
from maintenance.core.options import parse_options
from maintenance.core.runs.registry import task_named


def meant_options(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a run of ``task`` has, so that what means the same compares as equal.

    A person's run may say each of them, a schedule none. Those of an unknown task, or that its task does
    not take any more, are returned as they are.
    """
    try:
        options_type = task_named(task).options_type
    except MaintenanceError:
        return dict(options)
    text = json.dumps(dict(options), sort_keys=True)
    return dict(_meant(options_type, text))  # type: ignore[arg-type]  # any type is hashable


# A run is compared with up to ten others, most of which have the same ones.
@lru_cache(maxsize=1024)
def _meant(options_type: type[Any], text: str) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(text)
    try:
        return asdict(parse_options(options_type, given))
    except MaintenanceError:
        return given


def is_dry_run(task: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a run with these options only says what it would do."""
    return meant_options(task, options).get("dry_run") is True
