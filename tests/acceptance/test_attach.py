"""A site of the first client's shape: attached, looked after by real workers, its reports read."""

import json
import secrets
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from maintenance.conf import DatabaseTarget, parse_configuration
from maintenance.postgres.connection import connect
from maintenance.postgres.readiness.roles import role_statements
from maintenance.schedules import CHECKLISTS
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from tests import first_client
from tests.explained_lines import unexplained
from tests.integration.test_postgres_readiness import login
from tests.postgres_clients import ask
from tests.up_process import UpProcess, manage


@dataclass(frozen=True)
class Client:
    """Addresses of the site, and how its streams should come out."""

    environment: dict[str, str]
    activity: str
    broker: str
    kept: dict[bytes, dict[bytes, float]]


@pytest.fixture(scope="module")
def client(postgres_server: EmbeddedPostgres, server_root: Path) -> Iterator[Client]:
    """A filled database, seen by the role that the doctor prints, and two Redis servers."""
    name = f"bookwyrm_{secrets.token_hex(4)}"
    reader, vacuumer = f"{name}_reader", f"{name}_vacuumer"
    postgres_server.ensure_database(name)
    url = postgres_server.url(name)
    first_client.fill_database(url)
    with connect(DatabaseTarget(url=url)) as conn:
        statements = role_statements(conn, reader=reader, vacuumer=vacuumer)
    for statement in statements:
        ask(url, statement)
    with ExitStack() as stack:
        activity, broker = (
            stack.enter_context(
                EmbeddedValkey(
                    server_root / f"{kind}-{name}",
                    secrets.token_hex(16),
                    settings={"appendonly": "no"},
                )
            )
            for kind in ("activity", "broker")
        )
        with redis.Redis.from_url(activity.url()) as there:
            kept = first_client.fill_streams(there)
        with redis.Redis.from_url(broker.url()) as there:
            first_client.fill_broker(there)
        environment = {
            "SITE_DB": login(url, vacuumer),
            "ACTIVITY": activity.url(),
            "BROKER": broker.url(),
        }
        yield Client(environment, activity.url(), broker.url(), kept)
    ask(postgres_server.url(), f"DROP DATABASE {name} (FORCE)")
    for role in (reader, vacuumer):
        ask(postgres_server.url(), f"DROP ROLE {role}")


@pytest.mark.timeout(600)
def test_an_attached_site_runs_all_four_checklists(client: Client, server_root: Path) -> None:
    state = server_root / "attached"
    path = server_root / "attached.toml"
    # In the other order: which server is which is seen, not told.
    given = ("env:SITE_DB", "env:BROKER", "env:ACTIVITY")
    done = manage(
        "maintenance", "attach", *given, "--write", str(path), state=state, **client.environment
    )
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert 'preset = "bookwyrm"' in text
    assert unexplained(text) == []
    assert "://" not in text.replace("redis://127.0.0.1", "").replace("postgres://127.0.0.1", "")
    again = manage(
        "maintenance", "attach", *given, "--write", str(path), state=state, **client.environment
    )
    assert again.returncode == 2
    assert "--force writes over it" in again.stderr

    with UpProcess(
        state, "--once", *CHECKLISTS, MAINTENANCE_CONFIG=str(path), **client.environment
    ) as up:
        assert up.wait(400) == 0, up.output
        reports = {
            (body["run"]["task"].removeprefix("maintenance."), body["run"]["target"]): body[
                "report"
            ]
            for body in (json.loads(p.read_text()) for p in (state / "reports").rglob("*.json"))
        }
        output = up.output
    with redis.Redis.from_url(client.activity) as activity:
        for key, members in client.kept.items():
            assert dict(activity.zrange(key, 0, -1, withscores=True)) == members
        assert (
            activity.exists("django_cache:1:book-rating-1", ":1:template.cache.home.1-home.x") == 2
        )
    with redis.Redis.from_url(client.broker) as broker:
        assert broker.llen("inbox") == 7
    assert reports["trim_streams", "activity"]["summary"]
    assert reports["check_queue_depths", "site"]["facts"]["pending_messages"] == 7
    vacuumed = reports["vacuum_analyze", "site"]
    assert any("bookwyrm_status" in outcome["subject"] for outcome in vacuumed["outcomes"])
    assert "FAILED" not in output
    for variable in client.environment.values():
        assert variable.rpartition("@")[0].rpartition(":")[2] not in text + output


def test_what_is_proposed_without_references_names_variables_and_no_password(
    client: Client,
) -> None:
    urls = client.environment
    done = manage("maintenance", "attach", *urls.values(), state=Path("/nonexistent"))
    assert done.returncode == 0, done.stderr
    assert 'url = "env:SITE_DATABASE_URL"' in done.stdout
    assert "export SITE_REDIS_URL_2=..." in done.stderr
    for url in urls.values():
        password = url.rpartition("@")[0].rpartition(":")[2]
        assert password not in done.stdout + done.stderr
    assert parse_configuration(tomllib.loads(done.stdout)).preset == "bookwyrm"


def test_a_site_that_holds_nothing_yet_gets_a_file_that_explains_itself(
    make_database: Callable[[], str], redis_url: str
) -> None:
    done = manage("maintenance", "attach", make_database(), redis_url, state=Path("/nonexistent"))
    assert done.returncode == 0, done.stderr
    assert unexplained(done.stdout) == []
    parsed = parse_configuration(tomllib.loads(done.stdout))
    assert (parsed.preset, parsed.redis["site"].role) == ("", "cache")
    said = " ".join(done.stdout.replace("#", "").split())
    assert "0 tables, not made by Django" in said
    assert "it holds no key" in said
