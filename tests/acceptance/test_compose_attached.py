"""Both compose files, executed with the profile "site": a closed site is looked after by the workers alone."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from psycopg2 import sql

from deploy.secrets_folder import write_secrets
from service.embedded.ports import LOOPBACK
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from tests import first_client
from tests.compose_file import ATTACH_FILE, COMPOSE_FILE
from tests.local_compose import LocalCompose
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.signing_keys import sign_by

pytestmark = pytest.mark.timeout(900)

#: The site's own passwords: a letter in each that a URL has to quote.
DATABASE, ACTIVITY, BROKER = "site@/d8a1", "site%3f77", "site:+9b20"
OF_THE_SITE = "bookwyrm_attached"


@dataclass(frozen=True)
class Attached:
    """The services, the site's two Redis servers, and its streams as a trim leaves them."""

    compose: LocalCompose
    activity: redis.Redis
    broker: redis.Redis
    kept: dict[bytes, dict[bytes, float]]


def with_role(server: EmbeddedPostgres, name: str, password: str) -> None:
    """Make a database, and a role that may do anything with it, as the images' entry points do."""
    with closing(psycopg2.connect(server.url())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            role = sql.Identifier(name)
            statement = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD %s").format(role)
            cursor.execute(statement, [password])
            cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


def file_of_the_site(postgres: int, activity: int, broker: int) -> str:
    """Return the site's own .env: its servers, and names that mean something to the service as well."""
    return f"""
# Names and defaults are the site's.
SECRET_KEY="the site's own"
POSTGRES_HOST={LOOPBACK}
PGPORT={postgres}
POSTGRES_USER={OF_THE_SITE}
POSTGRES_DB={OF_THE_SITE}
POSTGRES_PASSWORD={DATABASE}
REDIS_ACTIVITY_HOST={LOOPBACK}
REDIS_ACTIVITY_PORT={activity}
REDIS_ACTIVITY_PASSWORD={ACTIVITY}
REDIS_BROKER_HOST={LOOPBACK}
REDIS_BROKER_PORT={broker}
REDIS_BROKER_PASSWORD={BROKER}
EMAIL_HOST_PASSWORD=emailpassword123
CELERY_BROKER_URL=redis://:site%3A%2B9b20@{LOOPBACK}:{broker}/0
BROKER_URL=redis://:site%3A%2B9b20@{LOOPBACK}:{broker}/0
"""


@pytest.fixture(scope="module")
def attached(postgres_server: EmbeddedPostgres, server_root: Path) -> Iterator[Attached]:
    """Ledger and queues on servers that are there already, and a site with servers of its own."""
    folder = server_root / "attached-compose"
    folder.mkdir()
    write_secrets(folder / "secrets")
    secret = {path.name: path.read_text().strip() for path in (folder / "secrets").iterdir()}
    (folder / "secrets" / "email_password").write_text("ours-and-not-the-sites")
    with_role(postgres_server, "attached_ledger", secret["postgres_password"])
    with_role(postgres_server, OF_THE_SITE, DATABASE)
    first_client.fill_database(postgres_server.url(OF_THE_SITE))
    (folder / "maintenance.toml").write_text('preset = "bookwyrm"\n')
    signing = folder / "signing"
    trusted = signing / "trusted"
    trusted.mkdir(parents=True)
    sign_by(signing, "crew", trusted)
    (signing / "crew.pem").rename(trusted / "crew.pem")
    with ExitStack() as stack:
        queues, activity, broker = (
            stack.enter_context(EmbeddedValkey(folder / f"valkey-{name}", password))
            for name, password in (
                ("queues", secret["redis_password"]),
                ("activity", ACTIVITY),
                ("broker", BROKER),
            )
        )
        clients = [
            stack.enter_context(redis.Redis.from_url(server.url())) for server in (activity, broker)
        ]
        kept = first_client.fill_streams(clients[0])
        first_client.fill_broker(clients[1])
        file = folder / "site.env"
        file.write_text(file_of_the_site(postgres_server.port, activity.port, broker.port))
        variables = {
            "DATABASE_URL": f"postgres://attached_ledger@{LOOPBACK}:{postgres_server.port}/attached_ledger",
            "REDIS_URL": f"redis://{LOOPBACK}:{queues.port}/0",
            "MAINTENANCE_TOML": str(folder / "maintenance.toml"),
            "MAINTENANCE_SIGNING": str(signing),
            "SITE_ENV_FILE": str(file),
            "SITE_NETWORK": "bookwyrm_main",
        }
        compose = LocalCompose(
            folder, profile="site", files=(COMPOSE_FILE, ATTACH_FILE), variables=variables
        )
        with compose:
            yield Attached(compose.up(), *clients, kept)
    for name in ("attached_ledger", OF_THE_SITE):
        ask(postgres_server.url(), f"DROP DATABASE {name} (FORCE)")
        ask(postgres_server.url(), f"DROP ROLE {name}")


def test_no_server_of_ours_is_started_and_all_else_is_healthy(attached: Attached) -> None:
    assert sorted(attached.compose.started) == sorted(
        ["migrate-1", "web-1", "beat-1", "beat-2", "flower-1"]
        + [f"worker-{queue}-1" for queue in ("high", "medium", "low")]
    )
    for service in attached.compose.services.values():
        if service.health:
            assert all(map(attached.compose.is_healthy, attached.compose.instances(service.name)))


def test_tasks_on_the_database_and_both_redis_servers_run_on_the_workers(
    attached: Attached,
) -> None:
    before = {key: attached.broker.type(key) for key in attached.broker.scan_iter()}
    for task, target in (
        ("review_activity", "site"),
        ("trim_streams", "activity"),
        ("check_queue_depths", "site"),
    ):
        # Asked for where nothing of the site is known: web has a name of the target, and a queue.
        command = ["python", "manage.py", "maintenance", "run", task, "--target", target]
        done = attached.compose.run("web-1", *command)
        assert done.returncode in {0, 1}, done.stdout + done.stderr  # 1: it has found something
    runs = attached.compose.ledger(
        "SELECT state, worker FROM maintenance_run WHERE task LIKE '%%review_activity'"
        " OR task LIKE '%%trim_streams' OR task LIKE '%%check_queue_depths'"
    )
    assert [state for state, _worker in runs] == ["succeeded"] * 3
    assert all(worker.startswith(("high@", "medium@", "low@")) for _state, worker in runs)
    for key, members in attached.kept.items():
        assert dict(attached.activity.zrange(key, 0, -1, withscores=True)) == members
    # Nothing of ours on its broker, whatever broker its file names.
    assert {key: attached.broker.type(key) for key in attached.broker.scan_iter()} == before


def test_the_doctor_sees_the_site_from_a_worker_and_not_from_web(
    attached: Attached,
) -> None:
    command = ["python", "manage.py", "maintenance", "doctor"]
    looked = attached.compose.run("worker-low-1", *command)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert looked.stdout.startswith("Nothing is missing")
    blind = attached.compose.run("web-1", *command)
    assert blind.returncode == 1
    assert "POSTGRES_PASSWORD is not set" in blind.stdout


def test_the_workers_alone_hold_the_sites_passwords_and_no_log_has_them(attached: Attached) -> None:
    holders = set()
    for instance, process in attached.compose.processes.items():
        if process.poll() is not None:  # migrate
            continue
        one = psutil.Process(process.pid)
        for each in (one, *one.children(recursive=True)):
            said = " ".join(each.environ().values())
            if any(password in said for password in (DATABASE, ACTIVITY, BROKER)):
                holders.add(instance)
            assert not any(word in " ".join(each.cmdline()) for word in (DATABASE, ACTIVITY))
    assert holders == {f"worker-{queue}-1" for queue in ("high", "medium", "low")}
    logs = "".join(map(attached.compose.log, attached.compose.processes))
    assert not [word for word in (DATABASE, ACTIVITY, BROKER) if word in logs]


def test_workers_answer_who_signs_and_nobody_else(attached: Attached) -> None:
    ask_them = ["celery", "--quiet", "-A", "service.celery", "inspect", "ping", "--timeout", "5"]
    signed = attached.compose.run("web-1", *ask_them)
    assert signed.returncode == 0, signed.stdout + signed.stderr
    answered = {
        line.partition("@")[0].strip() for line in signed.stdout.splitlines() if "@" in line
    }
    assert {"high", "medium", "low"} <= answered
    assert not [
        name for name in attached.compose.processes if "Traceback" in attached.compose.log(name)
    ]

    unsigned = attached.compose.run("web-1", "env", "MAINTENANCE_SIGNING_KEY=", *ask_them)

    assert unsigned.returncode != 0
    assert "pong" not in unsigned.stdout
    for name in ("beat-1", "beat-2", "worker-high-1", "worker-medium-1", "worker-low-1"):
        eventually(
            lambda name=name: "ContentDisallowed" in attached.compose.log(name),  # type: ignore[misc]
            60,
            f"{name} has refused what nobody signed",
        )
    attached.compose.logs_are_quiet_from_here()


def test_each_ends_within_its_grace_and_without_an_error(attached: Attached) -> None:
    codes = attached.compose.down()
    assert set(codes.values()) == {0}
    assert not [name for name in codes if "Traceback" in attached.compose.log(name, quiet=True)]
