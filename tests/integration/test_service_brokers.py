"""The service's own Celery on the brokers of several machines: Redis Sentinel, RabbitMQ quorum queues."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import kombu
import pytest
from django.db import connection

from tests.local_containers import ROOT, ProcessContainer
from tests.polling import eventually
from tests.redis_sentinel import NAME, Sentinel, redis_sentinel
from tests.up_process import clean_environment

__all__ = ["redis_sentinel"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

RUN = ("maintenance", "run", "check_disk_space", "--target", "local", "--fail-on", "critical")


def service_environment(folder: Path, **broker: str) -> dict[str, str]:
    """Return the environment of the service whose ledger is the test's database."""
    at = connection.settings_dict
    login = f"{at['USER']}:{quote(at['PASSWORD'])}"
    return clean_environment(
        DATABASE_URL=f"postgres://{login}@{at['HOST']}:{at['PORT']}/{at['NAME']}",
        DJANGO_SETTINGS_MODULE="service.settings",
        MAINTENANCE_STATE=str(folder),
        **broker,
    )


def run_a_task(environment: dict[str, str]) -> None:
    """Start a run from a shell, and see it succeed on a worker."""
    done = subprocess.run(
        [sys.executable, "manage.py", *RUN],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def worker(folder: Path, environment: dict[str, str]) -> Iterator[ProcessContainer]:
    """A worker of the service that takes from all queues."""
    command = [sys.executable, "-m", "celery", "-A", "service.celery", "worker", "-l", "INFO"]
    command += ["-Q", "high,medium,low", "-c", "1", "--without-gossip", "--without-mingle"]
    container = ProcessContainer("worker", lambda _node: command, folder, environment=environment)
    try:
        eventually(lambda: b"is ready for work" in container.logs(), 150, "the worker is ready")
        yield container
    finally:
        container.remove()


def sentinel_environment(sentinel: Sentinel, folder: Path) -> dict[str, str]:
    return service_environment(
        folder,
        CELERY_BROKER_URL=sentinel.url,
        CELERY_BROKER_SENTINEL_NAME=NAME,
        CELERY_BROKER_SENTINEL_PASSWORD=sentinel.own_password,
    )


def test_a_task_is_run_before_and_after_a_failover_of_sentinels(
    redis_sentinel: Sentinel, tmp_path: Path
) -> None:
    environment = sentinel_environment(redis_sentinel, tmp_path)
    with worker(tmp_path, environment):
        run_a_task(environment)
        redis_sentinel.fail_over()
        run_a_task(environment)


def test_a_worker_that_is_asked_tells_no_password_of_its_broker(
    redis_sentinel: Sentinel, tmp_path: Path
) -> None:
    environment = sentinel_environment(redis_sentinel, tmp_path)
    with worker(tmp_path, environment):
        for question in ("stats", "conf"):
            told = celery(environment, "inspect", question, "--json", "--timeout", "20")
            assert f'"master_name": "{NAME}"' in told, "the sentinels are not spoken of"
            assert redis_sentinel.password not in told
            assert redis_sentinel.own_password not in told


def celery(environment: dict[str, str], *arguments: str) -> str:
    """Return what a command of the service's Celery prints."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "service.celery", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_on_rabbitmq_queues_are_quorum_queues_and_a_task_is_run(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    environment = service_environment(tmp_path, CELERY_BROKER_URL=rabbitmq_url)
    with worker(tmp_path, environment):
        run_a_task(environment)
    # A queue of another type under this name would be refused.
    with kombu.Connection(rabbitmq_url) as client:
        queue = kombu.Queue("high", durable=True, queue_arguments={"x-queue-type": "classic"})
        with pytest.raises(client.channel_errors, match="x-queue-type"):
            queue(client.channel()).queue_declare()
