"""The ledger is one database, where the routers say: what parts it or cannot hold it is refused at the start."""

import pytest
from django.core.checks import CheckMessage
from django.db import connections
from django.test import override_settings

from maintenance.checks import check_configuration

LEDGER_APPS = {"maintenance", "django_celery_beat"}


class Router:
    """Leads the applications of ``led`` to ``alias``; their reads elsewhere where ``replica`` is given."""

    def __init__(
        self, alias: str, *led: str, replica: str = "", relations: bool | None = None
    ) -> None:
        self._alias, self._led, self._replica = alias, led, replica
        self._relations = relations

    def db_for_write(self, model: type, **_hints: object) -> str | None:
        return self._alias if model._meta.app_label in self._led else None

    def db_for_read(self, model: type, **hints: object) -> str | None:
        alias = self.db_for_write(model, **hints)
        return (self._replica or alias) if alias else None

    def allow_relation(self, *_objects: object, **_hints: object) -> bool | None:
        return self._relations


@pytest.fixture(autouse=True)
def databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a second PostgreSQL database, and one that is none."""
    default = connections["default"].settings_dict
    monkeypatch.setitem(connections.databases, "crew", {**default})
    lite = {**default, "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    monkeypatch.setitem(connections.databases, "lite", lite)


def faults_with(*routers: Router) -> list[CheckMessage]:
    with override_settings(DATABASE_ROUTERS=[*routers]):
        return check_configuration(None)


def test_a_router_of_the_sites_own_models_is_none_of_our_business() -> None:
    assert faults_with(Router("crew", "testapp")) == []


def test_a_router_may_lead_the_whole_ledger_to_a_database_of_its_own() -> None:
    assert faults_with(Router("crew", *LEDGER_APPS)) == []


@pytest.mark.parametrize(
    ("router", "said"),
    [
        (Router("crew", "maintenance"), "to crew, default: the ledger is one database"),
        (Router("default", *LEDGER_APPS, replica="crew"), "to crew, default: the ledger is one"),
        (Router("crow", *LEDGER_APPS), 'to "crow", which DATABASES does not have. Did you mean'),
        (Router("crew", *LEDGER_APPS, relations=False), "allow no relation between maintenance"),
    ],
)
def test_a_ledger_in_parts_or_nowhere_is_refused(router: Router, said: str) -> None:
    [fault] = faults_with(router)

    assert fault.id == "maintenance.E009"
    assert said in fault.msg
    assert fault.hint


def test_a_ledger_on_another_server_than_postgresql_is_refused() -> None:
    [fault] = faults_with(Router("lite", *LEDGER_APPS))

    assert fault.id == "maintenance.E003"
    assert '"lite" uses django.db.backends.sqlite3' in fault.msg
