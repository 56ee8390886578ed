"""One structured JSON line a run, so that any log shipper can take it from there."""

import json
import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from maintenance.core.findings import Severity, by_seriousness
from maintenance.core.redaction import redact
from maintenance.core.reports import SCHEMA_VERSION, ReportDocument
from maintenance.reports.plain import plain, plain_document
from maintenance.reports.publication import label_of

#: Findings in a line, worst first. Container runtimes cut lines at 16 KiB; the ledger holds all.
FINDINGS_PER_LINE = 10
_TEXT_LENGTH = 200


def log_line(document: ReportDocument) -> dict[str, Any]:
    """Return what one line says of a run: plain values, no secrets, of about 8 KiB at most.

    ``findings`` counts by word (``critical``, ``warning``, ``unavailable`` ...); ``worst`` holds
    the first :data:`FINDINGS_PER_LINE` findings that are at least warnings; ``waited_seconds`` is
    the time from queue to start. Give it to the formatter below as ``extra={"document": ...}``.
    """
    clean = plain_document(document)
    run, report = clean.run, clean.report
    waited = (run.started_at - run.queued_at).total_seconds() if run.started_at else None
    facts = run.to_json()
    facts["reason"] = _short(run.reason)
    return {
        "schema_version": SCHEMA_VERSION,
        **facts,
        "waited_seconds": waited,
        "severity": report.severity.value,
        "title": _short(report.title),
        "summary": _short(report.summary),
        "findings": dict(Counter(label_of(f) for f in by_seriousness(report.findings))),
        "outcomes": dict(Counter(outcome.verdict.value for outcome in report.outcomes)),
        "worst": [
            {
                "code": _short(finding.code),
                "severity": finding.severity.value,
                "subject": _short(finding.subject),
                "sentence": _short(finding.sentence),
                "fingerprint": finding.fingerprint(run.target),
            }
            for finding in by_seriousness(report.findings)[:FINDINGS_PER_LINE]
            if finding.severity.rank >= Severity.WARNING.rank
        ],
    }


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 1]}…"


class JsonLineFormatter(logging.Formatter):
    """Formats a log record as one line of JSON.

    Each line has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``; the fields of
    :func:`log_line`, given as ``extra={"document": ...}``, stand beside them, and a traceback
    under ``traceback``. Passwords are replaced by ``***``. Use it in ``LOGGING`` as
    ``{"()": "maintenance.reports.log_store.JsonLineFormatter"}``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON without a newline. A value JSON cannot hold is named."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        try:
            line = {**plain(getattr(record, "document", {})), **line}
        except TypeError as error:  # a log handler must not take the run down
            line["unprintable"] = str(error)
        return json.dumps(line, ensure_ascii=False)
