"""A ledger on another machine, whose connections would not notice that it is gone: a warning says so."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import WARNING, CheckMessage

from maintenance.checks import check_configuration
from maintenance.core.runs.ledger_network import NOTICES_A_LOST_LEDGER

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such option")


def found_with(
    monkeypatch: pytest.MonkeyPatch, host: str, options: dict[str, Any]
) -> list[CheckMessage]:
    monkeypatch.setitem(settings.DATABASES["default"], "HOST", host)
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    return check_configuration(None)


@pytest.mark.parametrize("host", ["db.example", "192.0.2.7", "2001:db8::7", "localhost,db.example"])
def test_a_ledger_on_another_machine_whose_silence_nobody_would_notice_is_told(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    [warning] = found_with(monkeypatch, host, {"connect_timeout": 3})

    assert (warning.id, warning.level) == ("maintenance.W001", WARNING)
    assert f'database "default" ({host.removeprefix("localhost,")}) has no' in warning.msg


def test_what_the_hint_says_mends_it_and_stands_in_the_guide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [warning] = found_with(monkeypatch, "", {"host": "db.example"})
    lines = str(warning.hint).removeprefix('Add to it: "OPTIONS": ').removesuffix(".")

    assert json.loads(lines) == NOTICES_A_LOST_LEDGER
    assert lines in " ".join((ROOT / "docs/embedding.md").read_text(encoding="utf-8").split())
    assert found_with(monkeypatch, "db.example", json.loads(lines)) == []


@pytest.mark.parametrize(
    "host", ["", "/run/postgresql", "@ledger", "localhost", "127.0.0.1", "127.8.0.1", "::1"]
)
def test_sockets_and_this_machine_itself_do_not_fall_silent(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert found_with(monkeypatch, host, {}) == []


def test_any_value_is_the_projects_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_with(monkeypatch, "db.example", {"tcp_user_timeout": "60000"}) == []
