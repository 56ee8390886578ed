"""Spans of runs for OpenTelemetry, where ``tracing = true`` and the extra ``otel`` is installed.

A message carries the trace that its run belongs to (W3C Trace Context), so that a run stands below the request
or command that asked for it. A run is one span, each of its steps a child of it. Nothing is imported, and
nothing costs more than a look at a setting, where tracing is off.

Attributes say what a run is and how it ended: no options, no arguments, no statements, and of an error the
sentence that the ledger has, which is redacted.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Retry
from celery.signals import worker_process_shutdown

from maintenance.conf import configuration
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.redaction import redact

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from maintenance.models import Run

logger = logging.getLogger("maintenance.tracing")

#: What the end of a process waits for a collector that does not answer.
FLUSH_SECONDS = 2.0


class NoTrace:
    """Takes what a run tells about itself, and keeps none of it."""

    def phase(self, name: str) -> None:
        """Note that another phase of the work begins."""

    def step(self, key: str, outcome: Outcome) -> None:
        """Note a step that has just ended."""

    def ended(self, how: Mapping[str, Any]) -> None:
        """Note how the run ended: state, worst severity, summary."""


class RunTrace(NoTrace):
    """The span of one attempt. Steps may come from any thread."""

    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        self._tracer = tracer
        self._span = span
        self._phase = ""

    def phase(self, name: str) -> None:
        """Add an event where the phase is a new one."""
        if name and name != self._phase:
            self._phase = name
            self._span.add_event("phase", {"maintenance.phase": redact(name)})

    def step(self, key: str, outcome: Outcome) -> None:
        """Add a span of the time that the step took, which is over."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context  # noqa: PLC0415

        now = time.time_ns()
        child = self._tracer.start_span(
            outcome.action.kind or "step",
            context=set_span_in_context(self._span),
            start_time=now - int(outcome.duration_seconds * 1e9),
            attributes={
                "maintenance.step": redact(key),
                "maintenance.subject": redact(outcome.action.subject),
                "maintenance.verdict": outcome.verdict.value,
            },
        )
        if outcome.verdict is Verdict.FAILED:
            child.set_status(Status(StatusCode.ERROR, redact(outcome.sentence)))
        child.end(now)

    def ended(self, how: Mapping[str, Any]) -> None:
        """Put state and worst severity on the span."""
        self._span.set_attribute("maintenance.state", str(how["state"]))
        self._span.set_attribute("maintenance.severity", str(how["severity"]))


_NO_TRACE = NoTrace()
_current: ContextVar[NoTrace] = ContextVar("maintenance_trace", default=_NO_TRACE)


def current_trace() -> NoTrace:
    """Return the trace of the run at work in this thread."""
    return _current.get()


@contextmanager
def traced_run(run: "Run", request: Any) -> Iterator[NoTrace]:
    """Let the body be the span of an attempt; ``request`` is Celery's, with the headers of the message."""
    tracer = _tracer()
    if tracer is None:
        yield _NO_TRACE
        return
    from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra, and heavy

    headers = {**(getattr(request, "headers", None) or {})}
    with tracer.start_as_current_span(
        run.task,
        context=propagate.extract(headers),
        kind=trace.SpanKind.CONSUMER,
        attributes=_attributes(run),
        record_exception=False,  # its text may hold a secret
        set_status_on_exception=False,
    ) as span:
        kept = RunTrace(tracer, span)
        token = _current.set(kept)
        try:
            yield kept
        except (Ignore, Retry):
            span.set_attribute("maintenance.state", "given back")
            raise
        except Exception as error:
            span.set_attribute("maintenance.state", "failed")
            span.set_status(trace.Status(trace.StatusCode.ERROR, redact(str(error))))
            raise
        finally:
            _current.reset(token)


@contextmanager
def traced_message(run: "Run") -> Iterator[dict[str, str]]:
    """Yield the headers by which the run's message carries its trace; the body sends it."""
    tracer = _tracer()
    if tracer is None:
        yield {}
        return
    from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra, and heavy

    headers: dict[str, str] = {}
    with tracer.start_as_current_span(
        f"send {run.task}", kind=trace.SpanKind.PRODUCER, attributes=_attributes(run)
    ):
        propagate.inject(headers)
        yield headers


def _attributes(run: "Run") -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "messaging.system": "celery",
        "messaging.destination.name": run.queue,
        "messaging.message.id": str(run.id),
        "maintenance.task": run.short_task,
        "maintenance.target": run.target,
        "maintenance.attempt": run.attempt,
        "maintenance.trigger": run.trigger,
    }
    if run.schedule:
        found["maintenance.schedule"] = run.schedule
    if run.scheduled_for is not None:
        found["maintenance.slot"] = run.scheduled_for.isoformat()
    return found


def _tracer() -> "Tracer | None":
    """Return the tracer, ``None`` where tracing is off or its library is not installed."""
    return _made_tracer(os.getpid()) if configuration().tracing else None


@cache
def _made_tracer(_pid: int) -> "Tracer | None":
    """Make this process' tracer: threads that send spans do not survive a fork."""
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra, and heavy

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            _set_up_provider()
    except ImportError as error:
        logger.error("tracing = true needs pip install 'celery-maintenance[otel]': %s", error)
        return None
    return trace.get_tracer("maintenance")


def _set_up_provider() -> None:
    """Send spans by OTLP over HTTP, as the standard variables say (OTEL_EXPORTER_OTLP_ENDPOINT ...).

    A project that has set up a provider of its own keeps that.
    """
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "maintenance"}
    provider = TracerProvider(resource=Resource.create(name))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    worker_process_shutdown.connect(flush)


def flush(**_details: Any) -> None:
    """Send what waits, at the end of a pool process."""
    from opentelemetry import trace  # noqa: PLC0415

    force = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force is not None:
        force(int(FLUSH_SECONDS * 1000))
