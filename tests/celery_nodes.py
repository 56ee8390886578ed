"""Fixtures: pytest-celery's ``celery_setup`` over local processes and the embedding project.

The broker and the backend are one Valkey, as in the product; the worker is the embedding project's,
on all three queues in strict order. A test asks for more workers or beat by the factories.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_celery
from celery import Celery
from django.db import connection

from maintenance.conf import configuration
from service.embedded.ports import free_port
from tests.local_containers import LocalBeat, LocalRedis, LocalWorker

APPLICATION = "tests.testapp.celery"
QUEUES = ("high", "medium", "low")


@pytest.fixture
def default_redis_broker(tmp_path: Path) -> Iterator[LocalRedis]:
    """The broker's container: a Valkey process."""
    container = LocalRedis(tmp_path, free_port())
    yield container
    container.teardown()


@pytest.fixture
def default_redis_backend(default_redis_broker: LocalRedis) -> LocalRedis:
    """The backend's container: the broker's own server, as in the product."""
    return default_redis_broker


@pytest.fixture
def celery_broker(default_redis_broker: LocalRedis) -> pytest_celery.RedisTestBroker:
    """Redis only: the plugin's own fixture multiplies each test by RabbitMQ."""
    return pytest_celery.RedisTestBroker(default_redis_broker)


@pytest.fixture
def celery_backend(
    default_redis_backend: LocalRedis,
) -> Iterator[pytest_celery.RedisTestBackend]:
    """Redis only, like the broker."""
    backend = pytest_celery.RedisTestBackend(default_redis_backend)
    yield backend
    backend.teardown()


@pytest.fixture
def report_folder(tmp_path: Path) -> Path:
    """Where the log store of the embedding project writes in this test."""
    folder = tmp_path / "log-store"
    folder.mkdir()
    return folder


@pytest.fixture
def testapp_environment(
    transactional_db: None, default_redis_broker: LocalRedis, report_folder: Path
) -> dict[str, str]:
    """What a process of the embedding project needs to meet this test's servers."""
    database = connection.settings_dict
    return {
        "DJANGO_SETTINGS_MODULE": "tests.testapp.settings",
        "TESTAPP_DB_NAME": str(database["NAME"]),
        "TESTAPP_DB_USER": str(database["USER"]),
        "TESTAPP_DB_PASSWORD": str(database["PASSWORD"]),
        "TESTAPP_DB_HOST": str(database["HOST"]),
        "TESTAPP_DB_PORT": str(database["PORT"]),
        "TESTAPP_REDIS_URL": default_redis_broker.url,
        "TESTAPP_REPORTS": str(report_folder),
    }


@pytest.fixture
def celery_setup_app(
    testapp_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    """The embedding project's application, pointed at this test's broker, in this process."""
    from tests.testapp.celery import app

    app.finalize()
    # For threads of web servers, too: whoever asked for Celery's current application before this one was
    # imported has made one of Celery's own the default.
    app.set_default()

    for name, value in testapp_environment.items():
        monkeypatch.setenv(name, value)
    configuration.cache_clear()
    before = {"broker_url": app.conf.broker_url, "result_backend": app.conf.result_backend}
    _point(app, testapp_environment["TESTAPP_REDIS_URL"])
    yield app
    app.conf.update(before)
    configuration.cache_clear()


def _point(app: Celery, url: str) -> None:
    """Use another broker and backend; what was cached of the old ones is dropped."""
    app.pool.force_close_all()
    app.conf.update(broker_url=url, broker_read_url=url, broker_write_url=url, result_backend=url)
    for name in ("amqp", "pool", "producer_pool"):
        app.__dict__.pop(name, None)
    app._pool = None
    app._local.__dict__.pop("backend", None)
    app._backend_cache = None


WorkerFactory = Callable[..., pytest_celery.CeleryTestWorker]


@pytest.fixture
def make_worker(
    testapp_environment: dict[str, str], celery_setup_app: Celery, tmp_path: Path
) -> Iterator[WorkerFactory]:
    """Start a worker: ``make_worker("high", arguments=["-c", "2"])``; ended after the test."""
    started: list[pytest_celery.CeleryTestWorker] = []

    def make(
        *queues: str, name: str = "worker", arguments: Sequence[str] = ("-c", "1")
    ) -> pytest_celery.CeleryTestWorker:
        container = LocalWorker(
            tmp_path,
            testapp_environment,
            application=APPLICATION,
            queues=queues or QUEUES,
            name=name,
            arguments=arguments,
        )
        node = pytest_celery.CeleryTestWorker(container, celery_setup_app)
        started.append(node)
        node.ready()
        return node

    yield make
    for node in started:
        node.teardown()


@pytest.fixture
def default_worker_container(make_worker: WorkerFactory) -> LocalWorker:
    """The setup's own worker: all three queues in strict order, one process."""
    container = make_worker().container
    assert isinstance(container, LocalWorker)
    return container


@pytest.fixture
def make_beat(
    testapp_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[], pytest_celery.CeleryTestNode]]:
    """Start a beat of the embedding project; ended after the test."""
    started: list[pytest_celery.CeleryTestNode] = []

    def make() -> pytest_celery.CeleryTestNode:
        node = pytest_celery.CeleryTestNode(
            LocalBeat(tmp_path, testapp_environment, application=APPLICATION)
        )
        started.append(node)
        node.ready()
        return node

    yield make
    for node in started:
        node.teardown()
