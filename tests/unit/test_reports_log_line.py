"""One line of JSON a run."""

import json
import logging
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.reports.log_store import JsonLineFormatter, log_line
from tests.golden.example_report import DOCUMENT


def formatted(message: str = "run finished", **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("maintenance.runs").makeRecord(
        "maintenance.runs", logging.INFO, __file__, 1, message, (), None, extra=extra
    )
    text = JsonLineFormatter().format(record)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text)
    return line


def test_a_line_says_who_ran_what_and_how_it_ended() -> None:
    line = formatted(document=log_line(DOCUMENT))
    assert line["logger"] == "maintenance.runs"
    assert line["level"] == "INFO"
    assert line["message"] == "run finished"
    assert line["task"] == "maintenance.report_table_bloat"
    assert line["target"] == "default"
    assert line["state"] == "succeeded"
    assert line["severity"] == "critical"
    assert line["duration_seconds"] == 123.0
    assert line["waited_seconds"] == 1.0
    assert line["findings"] == {"critical": 1, "warning": 2, "unavailable": 1, "info": 1, "ok": 1}
    assert line["outcomes"]["worked"] == 1
    assert datetime.fromisoformat(line["time"]).tzinfo is not None


def test_a_line_names_the_worst_findings_with_their_fingerprints() -> None:
    worst = log_line(DOCUMENT)["worst"]
    assert [item["severity"] for item in worst] == ["critical", "warning", "warning"]
    assert worst[0]["fingerprint"] == DOCUMENT.report.findings[1].fingerprint("default")


def test_a_line_stays_below_what_container_runtimes_cut() -> None:
    finding = Finding("code " * 90, Severity.CRITICAL, "subject " * 90, "sentence " * 900)
    findings = tuple(replace(finding, subject=f"{n} {finding.subject}") for n in range(500))
    report = replace(DOCUMENT.report, findings=findings, summary="summary " * 900)
    text = json.dumps(log_line(replace(DOCUMENT, report=report)))
    assert len(text.encode()) < 10 * 1024
    assert log_line(replace(DOCUMENT, report=report))["findings"] == {"critical": 500}


def test_no_password_is_in_a_line() -> None:
    line = formatted("postgres://bob:hunter2@db/site", document=log_line(DOCUMENT))
    assert "hunter2" not in json.dumps(line)
    assert line["message"] == "postgres://bob:***@db/site"
    assert line["options"]["api_token"] == "***"


def test_a_record_without_a_document_is_a_line_too() -> None:
    assert formatted("hello\nworld")["message"] == "hello\nworld"


def test_a_traceback_stands_in_the_line_without_its_password() -> None:
    try:
        int("redis://:hunter2@cache")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "no", (), sys.exc_info())
    line = json.loads(JsonLineFormatter().format(record))
    assert "redis://:***@cache" in line["traceback"]


def test_a_value_that_json_cannot_hold_is_named_and_the_line_written() -> None:
    line = formatted(document={"odd": object()})
    assert "object" in line["unprintable"]
    assert line["message"] == "run finished"
