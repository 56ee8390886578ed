"""What stands around the body of a message, and what of it may be believed before it is unpacked. Pure.

kombu and Celery (5.7) unpack it where they expect no error: one that is not as they write it ends the worker. What is said
here of a faulty one repeats nothing of it.
"""

import base64
from collections.abc import Mapping
from typing import Any

from kombu.utils.json import loads

from maintenance.core.runs.messages import UNPRINTABLE

#: As kombu writes them, nothing is nested deeper than three times; Python refuses to write again what is nested some
#: hundred times.
DEEPEST = 20

#: Names of tasks and queues, ids and tags are a few dozen characters long.
LONGEST_NAME = 255

# Four months: longer than any task, and within what a loop can wait for.
_LONGEST_LIMIT_SECONDS = 10_000_000


def fault_of_item(item: bytes | str) -> str:
    """Say why an item of a queue's list is no message of kombu's; empty if it may be unpacked."""
    try:
        envelope = loads(item)
    except Exception:  # noqa: BLE001 - kombu reads types of its own in JSON, and each has errors of its own
        return "it is no JSON"
    return fault_of_envelope(envelope)


def fault_of_given_out(item: bytes | str) -> str:
    """Say why what a broker keeps of a message until it is answered for cannot be given back; empty if it can."""
    try:
        kept = loads(item)
    except Exception:  # noqa: BLE001 - as above
        return "it is no JSON"
    match kept:
        case [envelope, exchange, routing_key]:
            if _is_name_or_nothing(exchange) and _is_name_or_nothing(routing_key):
                return fault_of_envelope(envelope)
    return "it has not the form of a message that was given out"


def fault_of_envelope(envelope: object) -> str:
    """Say why what was read as JSON is no message of kombu's; empty if it may be unpacked."""
    if not isinstance(envelope, dict) or not isinstance(envelope.get("properties"), dict):
        return "it has not the form of a message"
    body, properties = envelope.get("body"), envelope["properties"]
    way = properties.get("delivery_info")
    if not isinstance(way, dict) or not isinstance(body, str):
        return "it has not the form of a message"
    if _is_deeper_than(DEEPEST, envelope):
        return "it is nested too deeply"
    if not _is_name(properties.get("delivery_tag")):
        return "its tag is no name"
    if not all(
        name in way and _is_name_or_nothing(way[name]) for name in ("exchange", "routing_key")
    ):
        return "its way is not told by names"
    return _fault_of_headers(envelope.get("headers")) or _fault_of_body(
        body, properties.get("body_encoding")
    )


def _fault_of_headers(headers: object) -> str:
    if headers is not None and not isinstance(headers, dict):
        return "its headers are no mapping"
    if headers and headers.get("compression"):
        return "it is compressed, which nothing of ours is: what it would become has no limit"
    return ""


def _fault_of_body(body: str, encoding: object) -> str:
    if encoding in (None, "", "utf-8"):
        return ""
    if encoding != "base64":
        return "its body has an encoding of its own"
    try:
        base64.b64decode(body)
    except ValueError:
        return "its body is no base64"
    return ""


def fault_of_heading(heading: object, content_type: object, content_encoding: object) -> str:
    """Say why Celery must not be asked to find the task of a message; empty if it may be.

    ``heading`` is where task and id are: the headers, or in Celery's first protocol the body.
    """
    if not isinstance(heading, Mapping):
        return "it has not the form of a message"
    if not _is_name(heading.get("task")):
        return "its task is no name"
    if not _is_name(heading.get("id")):
        return "its id is no name"
    if not (_is_name_or_nothing(content_type) and _is_name_or_nothing(content_encoding)):
        return "its content type or encoding is no name"
    if not _is_time_limit(heading.get("timelimit")):
        return "its time limits are no seconds"
    return ""


def _is_name(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST_NAME and not UNPRINTABLE.search(text)


def _is_name_or_nothing(text: object) -> bool:
    return text is None or text == "" or _is_name(text)


def _is_time_limit(limits: object) -> bool:
    match limits:
        case None | [_, _]:
            return all(_is_seconds(limit) for limit in limits or ())
    return False


def _is_seconds(limit: Any) -> bool:
    return limit is None or (
        isinstance(limit, int | float) and 0 <= limit <= _LONGEST_LIMIT_SECONDS
    )


def _is_deeper_than(depth: int, value: object) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper_than(depth - 1, one) for one in inner)
