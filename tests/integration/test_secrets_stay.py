"""Secrets are planted in every place that may hold one, and looked for in all that comes out.

What a started service prints, and its argument lists, are looked at in ``tests/acceptance/test_up_service.py``;
Flower's pages in ``tests/acceptance/test_secrets_on_flower.py``.
"""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.exceptions import Ignore, Retry
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from maintenance.commands.crew import SUBCOMMANDS
from maintenance.commands.crew.recommend import KINDS
from maintenance.conf import configuration
from maintenance.core.errors import Skipped, UnknownName
from maintenance.core.runs.dispatch import record_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TaskSpec, all_tasks
from maintenance.core.runs.runner import RunFailed, execute
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import Run, Trigger
from maintenance.runbooks import RUNBOOKS
from tests.integration.test_closed_without_login import PAGES
from tests.planted_secrets import ENVIRONMENT, SECRETS, SITE

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="ann")
OF_DJANGO = {
    "SECRET_KEY": "Planted-key-0123456789",
    "EMAIL_HOST_PASSWORD": "Planted-mail-0123456789",
}


@pytest.fixture
def planted(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """What must not come out, of the site of ``tests.planted_secrets``."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name, value in OF_DJANGO.items():
        setattr(settings, name, value)
    settings.STORAGES = {
        **settings.STORAGES,
        "maintenance": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "log-store")},
        },
    }
    settings.MAINTENANCE = SITE
    configuration.cache_clear()
    password = str(connection.settings_dict["PASSWORD"])
    yield SECRETS | OF_DJANGO | ({"LEDGER": password} if len(password) > 5 else {})
    configuration.cache_clear()


class OneAttempt:
    """Delivers a run once; nobody waits for what would come after."""

    def __init__(self, run: Run) -> None:
        self.request = type("Request", (), {"id": str(run.id), "hostname": "here"})
        self.states: list[Any] = []

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        self.states.append([state, meta])

    def retry(self, **_details: Any) -> Exception:
        return Retry()


def attempt(spec: TaskSpec, target: str) -> list[Any]:
    """Carry out the only attempt, as a preview where there is one; return what Celery was told."""
    spec = replace(spec, retry=replace(spec.retry, max_attempts=1))
    options = {"dry_run": True} if spec.has_dry_run else {}
    with suppress(UnknownName, Skipped):
        run = record_run(spec, target, options, BY_HAND)
        carrier = OneAttempt(run)
        with suppress(Ignore, Retry, RunFailed):
            carrier.states.append(execute(carrier, spec, target, options))
        return carrier.states
    return []


def rows_of_the_ledger() -> Iterator[str]:
    for model in apps.get_models():
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT t::text FROM "{model._meta.db_table}" t')
            yield from (f"{model._meta.db_table}: {row}" for (row,) in cursor.fetchall())


def pages() -> Iterator[str]:
    """Yield every page for somebody who may see all, and what programs are told."""
    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    runs = list(Run.objects.values_list("id", flat=True))
    addresses = [f"/{path}" for path in PAGES if "logout" not in path]
    addresses += [f"/admin/maintenance/run/{run}/change/" for run in runs]
    addresses += [f"/maintenance/api/v1/runs/{run}/report/" for run in runs]
    for address in addresses:
        name = "METRICS_TOKEN" if "metrics" in address else "READ_TOKEN"
        answer = client.get(address, headers={"authorization": f"Bearer {SECRETS[name]}"})
        body = b"".join(answer) if answer.streaming else answer.content
        yield f"{address}: {answer.headers} {body.decode(errors='replace')}"


#: Commands that end by themselves, each as it meets the most of addresses.
COMMANDS = (
    ("maintenance", "list"),
    ("maintenance", "run", "review_activity", "--target", "site", "--now"),
    ("maintenance", "runs"),
    (
        "maintenance",
        "tail",
        "--since",
        "2020-01-01T00:00:00+00:00",
        "--severity",
        "ok",
        "--for",
        "0",
    ),
    ("maintenance", "tail", "--since", "2020-01-01T00:00:00+00:00", "--json", "--for", "0"),
    ("maintenance", "report"),
    ("maintenance", "reports", "list"),
    ("maintenance", "reports", "show", "latest:report_table_bloat"),
    ("maintenance", "findings"),
    ("maintenance", "notify", "--test"),
    ("maintenance", "schedules"),
    ("maintenance", "calendar"),
    ("maintenance", "proof"),
    *(
        ("maintenance", "recommend", "--for", kind, "--database", database, "--redis", "site")
        for kind in KINDS
        for database in ("site", "broken")
    ),
    *(("maintenance", "diagnose", runbook) for runbook in RUNBOOKS),
    ("maintenance", "attach", ENVIRONMENT["DATABASE"], ENVIRONMENT["REDIS"]),
    ("maintenance", "attach", ENVIRONMENT["BROKEN_DATABASE"]),
    ("maintenance", "attach", "env:DATABASE", "env:BROKEN_REDIS"),
    ("maintenance", "doctor"),
    ("maintenance", "doctor", "--json"),
    ("maintenance", "doctor", "--sql"),
    ("maintenance", "config"),
    ("maintenance", "config", "--json"),
    ("maintenance", "completion", "bash"),
    ("sync_schedules",),
    ("health_check",),
    ("analyze_db_performance", "--database", "site"),
    ("analyze_db_performance", "--database", "broken"),
    ("check_data_integrity", "--database", "site"),
    ("check",),
)


def outputs() -> Iterator[str]:
    """Yield what commands print, refusals included."""
    for line in COMMANDS:
        said, complained = io.StringIO(), io.StringIO()
        try:
            call_command(*line, stdout=said, stderr=complained)
        except (CommandError, SystemExit) as end:
            complained.write(str(end))
        yield f"{line[:2]}: {said.getvalue()} {complained.getvalue()}"


def test_each_subcommand_is_looked_at() -> None:
    tried = {line[1] for line in COMMANDS if line[0] == "maintenance"}
    # A plan is a run; the others repeat what a person typed about a run or a finding.
    assert {each.name for each in SUBCOMMANDS} - tried == {"plan", "cancel", "mute", "unmute"}


def test_no_secret_comes_out(
    planted: dict[str, str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, "maintenance")
    logging.getLogger("maintenance.runs").addHandler(caplog.handler)
    sync_schedules(configuration())
    specs = [spec for spec in all_tasks() if spec.function.__module__.startswith("maintenance.")]
    told = [
        json.dumps(attempt(spec, target), default=str)
        for spec in specs
        for target in spec.target_names(configuration())
    ]
    printed = [*outputs(), *pages()]
    files = [path.read_text() for path in (tmp_path / "log-store").rglob("*") if path.is_file()]
    lines = [
        f"{record.getMessage()} {record.exc_text} {getattr(record, 'document', '')}"
        for record in caplog.records
    ]

    assert Run.objects.filter(state="failed").count() > 20
    assert len(files) > 10
    assert any("127.0.0.1" in line for line in lines), "servers that are not there were spoken of"
    everything = [*told, *printed, *files, *lines, *rows_of_the_ledger()]
    leaks = {
        f"{name} in {text[:120]!r} ... {text[max(text.find(secret) - 80, 0) :][:200]!r}"
        for name, secret in planted.items()
        for text in everything
        if secret in text
    }
    assert not leaks, "\n".join(sorted(leaks)[:20])


def test_a_message_holds_a_target_and_options_and_no_more(
    planted: dict[str, str], celery_setup_app: Any, default_redis_broker: Any
) -> None:
    from maintenance.core.runs.dispatch import publish

    for spec in all_tasks()[:10]:
        for target in spec.target_names(configuration())[:1]:
            publish(record_run(spec, target, {}, BY_HAND))
    broker = redis.Redis.from_url(default_redis_broker.url)
    stored = [
        str(item)
        for key in broker.scan_iter()
        for item in (broker.lrange(key, 0, -1) if broker.type(key) == b"list" else [])
    ]

    assert len(stored) >= 5
    assert not [name for name, secret in planted.items() for item in stored if secret in item]
