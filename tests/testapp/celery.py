"""The project's own Celery application."""

import os
from pathlib import Path

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.testapp.settings")

app = Celery("testapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def write_spans(path: str) -> None:
    """Let this process write each span that ends as a line of JSON: a provider of the project's own."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    out = Path(path).open("a", buffering=1)  # noqa: SIM115 - as long as the process
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(None) + "\n")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


if "TESTAPP_SPANS" in os.environ:
    write_spans(os.environ["TESTAPP_SPANS"])
if os.environ.get("MAINTENANCE_SIGNING_KEY"):
    app.setup_security(allowed_serializers={"json"})
