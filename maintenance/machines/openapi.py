"""The OpenAPI document of the JSON API. Data: the views are small, and say the same in code."""

from collections.abc import Mapping
from typing import Any

from maintenance.core.findings import Severity

VERSION = "1"
#: As maintenance.models.RunState has them; a test compares.
STATES = ("queued", "running", "succeeded", "failed", "skipped", "cancelled", "sent")

Schema = Mapping[str, Any]


def _nullable(kind: str, **more: str) -> Schema:
    return {"type": [kind, "null"], **more}


_TIME: Schema = {"type": "string", "format": "date-time"}
_NO_TIME_YET: Schema = _nullable("string", format="date-time")
_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"type": "object"}

_SCHEMAS: Schema = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "Run": {
        "type": "object",
        "required": ["run_id", "task", "target", "state", "queued_at"],
        "properties": {
            "run_id": {"type": "string", "format": "uuid"},
            "task": _TEXT,
            "target": _TEXT,
            "schedule": _TEXT,
            "trigger": _TEXT,
            "actor": _TEXT,
            "queue": _TEXT,
            "state": {"type": "string", "enum": list(STATES)},
            "reason": _TEXT,
            "attempt": {"type": "integer"},
            "options": _OBJECT,
            "severity": {"type": "string", "enum": ["", *Severity]},
            "summary": _TEXT,
            "phase": _TEXT,
            "progress_done": {"type": "integer"},
            "progress_total": _nullable("integer"),
            "progress_unit": _TEXT,
            "progress_per_second": _nullable("number"),
            "seconds_left": _nullable("number"),
            "available_at": _NO_TIME_YET,
            "queued_at": _TIME,
            "started_at": _NO_TIME_YET,
            "finished_at": _NO_TIME_YET,
            "duration_seconds": _nullable("number"),
        },
    },
    "Finding": {
        "type": "object",
        "required": ["fingerprint", "code", "severity", "sentence", "run_id"],
        "properties": {
            "fingerprint": _TEXT,
            "code": _TEXT,
            "severity": {"type": "string", "enum": list(Severity)},
            "target": _TEXT,
            "subject": _TEXT,
            "sentence": _TEXT,
            "advice": _TEXT,
            "evidence": _OBJECT,
            "measured": {"type": "boolean"},
            "found_at": _TIME,
            "run_id": {"type": "string", "format": "uuid"},
            "task": _TEXT,
        },
    },
    "Report": {
        "type": "object",
        "required": ["schema_version", "run", "report"],
        "properties": {"schema_version": {"type": "integer"}, "run": _OBJECT, "report": _OBJECT},
    },
    "Order": {
        "type": "object",
        "required": ["task"],
        "additionalProperties": False,
        "properties": {"task": _TEXT, "target": _TEXT, "options": _OBJECT},
    },
}


def document(server: str) -> dict[str, Any]:
    """Return the document for an API that answers below ``server``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Maintenance",
            "version": VERSION,
            "description": "Runs, their reports, what is the case now, and starting a run. Which token"
            " opens what is said in the section access of the configuration.",
        },
        "servers": [{"url": server.rstrip("/")}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS,
        },
    }


def _paths() -> dict[str, Any]:
    return {
        "/runs/": {
            "get": _operation(
                "listRuns",
                "Runs, the newest first. next_before is the before of the next page; a time does as well.",
                _list_of("runs", "Run", next_before=_nullable("string")),
                parameters=[
                    _query("task", _TEXT),
                    _query("target", _TEXT),
                    _query("state", {"type": "string", "enum": list(STATES)}),
                    _query("before", _TEXT),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 500}),
                ],
                errors=("400", "401"),
            ),
            "post": {
                **_operation(
                    "startRun",
                    "Start a run. A task that writes wants dry_run in its options; one that can harm"
                    " a site is refused.",
                    _reference("Run"),
                    status="202",
                    errors=("400", "401", "403"),
                ),
                "requestBody": {"required": True, "content": _json(_reference("Order"))},
            },
        },
        "/runs/{run_id}/": {
            "get": _operation("showRun", "One run.", _reference("Run"), parameters=[_RUN_ID])
        },
        "/runs/{run_id}/report/": {
            "get": _operation(
                "showReport", "The report of a run.", _reference("Report"), parameters=[_RUN_ID]
            )
        },
        "/findings/": {
            "get": _operation(
                "listFindings",
                "What is the case now: findings of the newest run of each task and target, the worst"
                " first. next_before is the before of the next page.",
                _list_of(
                    "findings",
                    "Finding",
                    is_complete={"type": "boolean"},
                    next_before=_nullable("string"),
                ),
                parameters=[
                    _query("target", _TEXT),
                    _query("severity", {"type": "string", "enum": list(Severity)}),
                    _query("before", _TEXT),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 500}),
                ],
                errors=("400", "401"),
            )
        },
    }


_RUN_ID: Schema = {
    "name": "run_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}
_ERRORS: Mapping[str, str] = {
    "400": "The request cannot be understood; the sentence says why.",
    "401": "The token is missing or wrong.",
    "403": "A person has to do this.",
    "404": "There is no such run or report.",
}


def _operation(
    name: str,
    words: str,
    answer: Schema,
    *,
    status: str = "200",
    parameters: list[Schema] | None = None,
    errors: tuple[str, ...] = ("401", "404"),
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": words,
        "parameters": parameters or [],
        "responses": {
            status: {"description": words, "content": _json(answer)},
            **{
                error: {"description": _ERRORS[error], "content": _json(_reference("Error"))}
                for error in errors
            },
        },
    }


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str, schema: str, **more: Schema) -> Schema:
    listed = {"type": "array", "items": _reference(schema)}
    return {"type": "object", "required": [name, *more], "properties": {name: listed, **more}}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
