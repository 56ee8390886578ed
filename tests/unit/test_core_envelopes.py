"""What stands around the body of a message: what kombu and Celery write may be unpacked, and nothing else."""

import json
from typing import Any

import pytest

from maintenance.core.runs.envelopes import (
    DEEPEST,
    LONGEST_NAME,
    fault_of_envelope,
    fault_of_given_out,
    fault_of_heading,
    fault_of_item,
)

WAY = {"exchange": "maintenance", "routing_key": "high"}
PROPERTIES = {
    "delivery_tag": "a-tag",
    "delivery_info": WAY,
    "body_encoding": "base64",
    "priority": 0,
}
ENVELOPE = {
    "body": "W10=",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {"task": "maintenance.note_high", "id": "an-id"},
    "properties": PROPERTIES,
}
HEADING = {"task": "maintenance.note_high", "id": "an-id", "timelimit": [None, None]}


def nested(depth: int) -> Any:
    inner: Any = 5
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"headers": None},
        {"redelivered": True},
        {"headers": {"compression": None, "stamps": nested(5)}},
        {"body": "plain", "properties": PROPERTIES | {"body_encoding": "utf-8"}},
        {"body": "", "properties": {name: PROPERTIES[name] for name in ("delivery_tag", "delivery_info")}},
        {"properties": PROPERTIES | {"delivery_info": {"exchange": "", "routing_key": None}}},
    ],
)  # fmt: skip
def test_what_kombu_writes_may_be_unpacked(changes: dict[str, Any]) -> None:
    assert fault_of_item(json.dumps(ENVELOPE | changes).encode()) == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"body": None}, "form of a message"),
        ({"properties": None}, "form of a message"),
        ({"properties": {"delivery_tag": "a-tag"}}, "form of a message"),
        ({"properties": PROPERTIES | {"delivery_tag": ""}}, "its tag"),
        ({"properties": PROPERTIES | {"delivery_tag": "x" * (LONGEST_NAME + 1)}}, "its tag"),
        ({"properties": PROPERTIES | {"delivery_tag": "a\nCRITICAL"}}, "its tag"),
        ({"properties": PROPERTIES | {"delivery_info": {"exchange": ""}}}, "its way"),
        ({"properties": PROPERTIES | {"delivery_info": WAY | {"exchange": []}}}, "its way"),
        ({"properties": PROPERTIES | {"body_encoding": ["base64"]}}, "encoding of its own"),
        ({"body": "W10"}, "no base64"),
        ({"body": "Ω"}, "no base64"),
        ({"headers": []}, "no mapping"),
        ({"headers": {"compression": "gzip"}}, "compressed"),
        ({"headers": {"compression": ["gzip"]}}, "compressed"),
        ({"headers": {"deep": nested(DEEPEST)}}, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_kombu_cannot_unpack_is_faulty(changes: dict[str, Any], fault: str) -> None:
    assert fault in fault_of_envelope(ENVELOPE | changes)


@pytest.mark.parametrize(
    "item",
    [b"", b"\xff", b"nothing", b"[" * 100_000, b'{"__type__": [], "__value__": 1}',
     b'{"__type__": "uuid", "__value__": {}}'],
)  # fmt: skip
def test_what_kombu_cannot_read_is_faulty(item: bytes) -> None:
    assert fault_of_item(item) == "it is no JSON"


@pytest.mark.parametrize("item", [b"5", b"null", b"[]", b'"text"'])
def test_json_alone_is_no_message(item: bytes) -> None:
    assert fault_of_item(item) == "it has not the form of a message"


def test_what_was_given_out_can_be_given_back() -> None:
    assert fault_of_given_out(json.dumps([ENVELOPE, "maintenance", "high"]).encode()) == ""


@pytest.mark.parametrize(
    "kept",
    [5, {}, [1, 2], [ENVELOPE, "a", "b", "c"], [ENVELOPE, [], "high"], [ENVELOPE, "a", {}], [5, "a", "b"]],
)  # fmt: skip
def test_what_cannot_be_given_back_is_faulty(kept: Any) -> None:
    assert "has not the form of a message" in fault_of_given_out(json.dumps(kept))
    assert fault_of_given_out("[" * 100_000) == "it is no JSON"


@pytest.mark.parametrize("timelimit", [None, [None, None], [60, 30.5], (0, None)])
def test_what_celery_writes_may_be_looked_for(timelimit: Any) -> None:
    heading = HEADING | {"timelimit": timelimit}
    assert fault_of_heading(heading, "application/json", "utf-8") == ""
    assert fault_of_heading(heading, None, None) == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        *(({"task": task}, "its task") for task in (None, [], {}, 5, "", "a\nb", "\ud800")),
        *(({"id": id_}, "its id") for id_ in (None, [], 5, "x" * (LONGEST_NAME + 1))),
        *(
            ({"timelimit": limit}, "its time limits")
            for limit in (5, "no", [1], [1, "2"], [float("nan"), 1], [-1, None], [1e300, 1])
        ),
    ],
)
def test_what_celery_stumbles_on_is_faulty(changes: dict[str, Any], fault: str) -> None:
    assert fault in fault_of_heading(HEADING | changes, "application/json", "utf-8")


@pytest.mark.parametrize("kind", [["x"], {}, 5, "a\nb"])
def test_content_type_and_encoding_are_text(kind: Any) -> None:
    assert "content type" in fault_of_heading(HEADING, kind, "utf-8")
    assert "content type" in fault_of_heading(HEADING, "application/json", kind)


@pytest.mark.parametrize("heading", [None, [], "text", 5])
def test_a_heading_is_a_mapping(heading: Any) -> None:
    assert fault_of_heading(heading, None, None) == "it has not the form of a message"
