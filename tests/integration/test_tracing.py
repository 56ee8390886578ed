"""Spans of runs: from the process that asks, through the broker, to a worker of its own and its steps."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs import tracing
from maintenance.core.runs.dispatch import record_run, start_run
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, Trigger
from tests.made_tasks import TaskFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

Spans = Callable[[], dict[str, Any]]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No provider before the test and none of it after: OpenTelemetry knows one for a process."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    tracing._made_tracer.cache_clear()
    yield
    shutdown = getattr(trace.get_tracer_provider(), "shutdown", lambda: None)
    shutdown()
    tracing._made_tracer.cache_clear()


@pytest.fixture
def spans(provider: None, settings: Any) -> Spans:
    """Turn tracing on, with the SDK's exporter to memory; return what has ended by name."""
    settings.MAINTENANCE = {**settings.MAINTENANCE, "tracing": True}
    exporter = InMemorySpanExporter()
    own = TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(own)
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


def run(name: str, target: str = "", **options: Any) -> Run:
    return work_here(record_run(task_named(name), target, options, Origin(Trigger.CLI)))


def test_a_run_and_its_steps_are_spans_below_one_another(spans: Spans, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()

    done = run("step_and_wait_at_gate", gate=str(gate))

    step, whole = (spans()[name] for name in ("note", "maintenance.step_and_wait_at_gate"))
    assert step.parent.span_id == whole.context.span_id
    assert (step.end_time - step.start_time) == 1_000_000_000
    assert dict(step.attributes) == {
        "maintenance.step": "first",
        "maintenance.subject": "first step",
        "maintenance.verdict": "worked",
    }
    assert dict(whole.attributes) == {
        "messaging.system": "celery",
        "messaging.destination.name": "medium",
        "messaging.message.id": str(done.id),
        "maintenance.task": "step_and_wait_at_gate",
        "maintenance.target": "",
        "maintenance.attempt": 1,
        "maintenance.trigger": "cli",
        "maintenance.state": "succeeded",
        "maintenance.severity": "ok",
    }


def test_a_failed_run_is_an_error_and_no_span_tells_a_password(spans: Spans) -> None:
    run("reach_in_vain", "main")

    whole = spans()["maintenance.reach_in_vain"]
    assert not whole.status.is_ok
    assert "cache.example:6379/0 (main) is down" in whole.status.description
    assert whole.attributes["maintenance.state"] == "failed"
    assert all("very-secret" not in span.to_json() for span in spans().values())
    assert not whole.events  # no exception with its text and traceback


def test_phases_are_events_each_once(spans: Spans, task_that: TaskFactory) -> None:
    def work_in_phases(job: Any) -> Report:
        for number in range(6):
            job.progress.update(number, 6, phase="first" if number < 3 else "second")
        return Report("Done", "Done.")

    task_that(work_in_phases)
    run("work_in_phases")

    events = spans()["maintenance.work_in_phases"].events
    assert [event.attributes["maintenance.phase"] for event in events] == ["first", "second"]


def test_nothing_of_it_is_imported_or_sent_while_tracing_is_off(
    provider: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # importing it fails

    assert run("note_low").state == "succeeded"
    assert caplog.text == ""
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_without_its_library_a_run_goes_on_and_the_log_says_what_to_install(
    provider: None, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MAINTENANCE = {**settings.MAINTENANCE, "tracing": True}
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    assert run("note_low").state == "succeeded"
    assert "pip install 'celery-maintenance[otel]'" in caplog.text


@pytest.fixture
def worker_spans(
    testapp_environment: dict[str, str], tmp_path: Path
) -> Callable[[], list[dict[str, Any]]]:
    """Let workers of this test write their spans; return those so far."""
    path = tmp_path / "spans.jsonl"
    testapp_environment["TESTAPP_SPANS"] = str(path)

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


def test_a_run_on_a_worker_belongs_to_the_trace_of_whoever_asked(
    spans: Spans,
    worker_spans: Callable[[], list[dict[str, Any]]],
    celery_setup_app: Celery,
    make_worker: Callable[..., Any],
    settings: Any,
) -> None:
    make_worker()
    with trace.get_tracer("site").start_as_current_span("a request") as request:
        asked = start_run(task_named("note_high"), "", {"number": 3}, Origin(Trigger.API))

    eventually(worker_spans, 30, "the worker wrote its span")

    sent = spans()["send maintenance.note_high"]
    (whole,) = worker_spans()
    assert sent.parent.span_id == request.get_span_context().span_id
    assert whole["name"] == "maintenance.note_high"
    assert int(whole["context"]["trace_id"], 16) == request.get_span_context().trace_id
    assert int(whole["parent_id"], 16) == sent.context.span_id
    assert whole["attributes"]["messaging.message.id"] == str(asked.id)
    assert whole["attributes"]["maintenance.state"] == "succeeded"


class Collector(BaseHTTPRequestHandler):
    """Takes what an exporter posts."""

    taken: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


def test_without_a_provider_of_the_project_spans_go_where_the_standard_variables_say(
    provider: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Collector.taken = []
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        settings.MAINTENANCE = {**settings.MAINTENANCE, "tracing": True}
        run("note_low")
        tracing.flush()
        server.shutdown()
        thread.join()

    ((path, body),) = Collector.taken
    assert path == "/v1/traces"
    assert b"maintenance.note_low" in body
    assert b"service.name" in body


def test_a_step_that_failed_is_an_error(spans: Spans) -> None:
    tracer = trace.get_tracer("test")
    with tracer.start_as_current_span("run") as span:
        action = Action("vacuum", "public.t", "VACUUM t", "due")
        tracing.RunTrace(tracer, span).step("t", Outcome(action, Verdict.FAILED, "No rights."))

    assert spans()["vacuum"].status.description == "No rights."
    assert "VACUUM t" not in spans()["vacuum"].to_json()
