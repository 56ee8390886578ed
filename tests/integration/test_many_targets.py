"""Whoever asks what is the case now asks as much, and in as many words, of ten targets as of a few."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from maintenance.core.attention.mutes import mute
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.models import StoredFinding
from maintenance.notifications.digest_look import digest
from tests.ledger_rows import finished_run, warning

pytestmark = pytest.mark.django_db

TOKEN = "read-" + "0123456789abcdef" * 2
FEW, MANY = 2, 30

Statement = tuple[int, int]


def write_a_digest() -> str:
    now = ledger_now()
    written, _pictures = digest("daily", now - timedelta(days=1), now)
    return "\n".join(gone.sentence for gone in written.gone)


def ask_the_api() -> str:
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = Client().get("/maintenance/api/v1/findings/", {"limit": "500"}, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def list_in_a_terminal() -> str:
    return _told("findings")


def list_what_is_fixed() -> str:
    return _told("findings", "--fixed")


def list_in_the_admin() -> str:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    answer = client.get("/admin/maintenance/storedfinding/")
    assert answer.status_code == 200
    return answer.content.decode()


def _told(*words: str) -> str:
    out = StringIO()
    with suppress(SystemExit):  # findings have an exit code of their own
        call_command("maintenance", *words, stdout=out)
    return out.getvalue()


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Note the length of each statement without what it is given, and of how many things that is."""
    noted: list[Statement] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("SAVEPOINT", "RELEASE")):
            noted.append((len(sql), len(params or ())))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield noted


@pytest.mark.parametrize(
    "asked",
    [write_a_digest, ask_the_api, list_in_a_terminal, list_what_is_fixed, list_in_the_admin],
    ids=lambda asked: asked.__name__,
)
def test_what_is_the_case_is_asked_in_as_many_words_for_any_number_of_targets(
    asked: Callable[[], str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_READ", TOKEN)
    User.objects.create_superuser("root")
    plain = {**settings.MAINTENANCE, "access": {"read": "env:TOKEN_READ"}}
    muted = finished_run(findings=[warning("/muted")])
    mute(StoredFinding.objects.get(), reason="known", by="ann", until=None, endless=True)

    def at(targets: int) -> list[Statement]:
        names = [f"site-{number}-of-{targets}" for number in range(targets)]
        databases = {name: {"url": "env:DATABASE_URL"} for name in names}
        settings.MAINTENANCE = {**plain, "databases": databases}
        for name in names:
            found = warning("public.status", f"Half of {name} is free.")
            gone = warning("public.gone", f"All of {name} was free.")
            finished_run("report_table_bloat", name, findings=[found, gone], age=timedelta(hours=2))
            finished_run("report_table_bloat", name, findings=[found])
        asked()  # what is asked once in a process
        with statements() as noted:
            told = asked()
        assert all(name in told for name in (names[0], names[-1]))
        return noted

    few = at(FEW)
    assert few, "the ledger was not asked"
    assert at(MANY) == few
    assert muted.pk is not None
