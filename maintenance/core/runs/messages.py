"""What a message may be before anything is done for it. Pure.

Whoever can write to the broker can write anything into it. What has not even the form of a message of
ours is refused here, before the ledger is asked; what has it is checked against registry, options and
configuration like everything else.
"""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

#: Options name targets, tables and limits: thousands of names fit, and no worker's memory is filled.
MOST_OPTIONS_BYTES = 256 * 1024

#: As long as the ledger's column.
LONGEST_TARGET = 100

#: Control characters forge lines in a log, and PostgreSQL stores no NUL. A lone surrogate is no text.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def fault_of_message(task_id: object, target: object, options: object) -> str:
    """Say why a message must do nothing, in words that repeat nothing of it; empty if it may be read."""
    if not _is_a_run_id(task_id):
        return "its id is none of a run"
    return fault_of_target(target) or fault_of_options(options)


def fault_of_target(target: object) -> str:
    """Say why a target is no name of one; empty if it may be."""
    if not isinstance(target, str) or len(target) > LONGEST_TARGET or UNPRINTABLE.search(target):
        return "its target is no name"
    return ""


def storable_name(text: str, longest: int) -> str:
    """Return a text as a column of names stores it: cut, and with "?" for what is not printed."""
    return UNPRINTABLE.sub("?", text)[:longest]


def fault_of_options(options: object) -> str:
    """Say why options cannot be stored, whatever task they are for; empty if they can."""
    if not isinstance(options, Mapping):
        return "its options are no mapping"
    try:
        text = json.dumps(options, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return "its options are no JSON"
    if len(text) > MOST_OPTIONS_BYTES:
        return f"its options are longer than {MOST_OPTIONS_BYTES} characters"
    if _UNSTORABLE.search(text) or "\\u0000" in text:
        return "its options hold what no database stores"
    return ""


def _is_a_run_id(task_id: Any) -> bool:
    try:
        return bool(str(uuid.UUID(task_id)) == task_id.lower())
    except (AttributeError, TypeError, ValueError):
        return False
