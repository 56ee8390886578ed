"""What a deployment's programs ask of the servers, and what Nginx has to know of them."""

import pytest
from django.conf import settings

from maintenance.conf import DatabaseTarget, DeploymentTarget, parse_configuration
from maintenance.core.errors import ConfigurationError
from maintenance.core.machine import MachineFacts
from maintenance.deployment.look import (
    Programs,
    celery_of,
    demand_of,
    known_to_nginx,
    machine_of,
    server_side_cursors,
)
from maintenance.deployment.recommend import Adviser, Wish
from maintenance.queues.worker_settings import RunningWorker, worker_settings
from maintenance.web.server_configuration.gunicorn_settings import (
    GunicornSettings,
    read_gunicorn,
)


def gunicorn(**known) -> GunicornSettings:
    told = {"worker_class": "sync", "threads": 1, "timeout": 30, **known}
    return GunicornSettings(told, written=frozenset(known))


def test_threads_and_processes_are_added_up():
    workers = (RunningWorker("w", "", {"worker_concurrency": 7}),)
    celery = worker_settings({}, {}, workers, "test")
    assert demand_of(Programs(gunicorn(workers=9, threads=4), celery), 2) == 43
    assert demand_of(Programs(celery=celery), 2) == 7


def test_what_is_not_known_of_one_makes_the_sum_unknown():
    celery = worker_settings({}, {}, (RunningWorker("w", "", {"worker_concurrency": 7}),), "test")
    assert demand_of(Programs(gunicorn(threads=4), celery), 2) is None
    assert demand_of(Programs(), 2) is None


def test_workers_that_nobody_wrote_may_be_many_by_the_environment(tmp_path):
    file = tmp_path / "gunicorn.conf.py"
    file.write_text("threads = 4\n")
    settings = read_gunicorn(str(file), "", 2)
    assert settings.known["workers"] == 1
    assert settings.connections is None
    assert demand_of(Programs(settings), 2) is None


@pytest.mark.parametrize(
    ("told", "known"),
    [
        (gunicorn(keepalive=5), {"worker_class": "sync", "threads": 1, "timeout": 30}),
        (
            gunicorn(keepalive=5, threads=4),
            {"worker_class": "gthread", "threads": 4, "keepalive": 5},
        ),
        (None, {}),
    ],
)
def test_nginx_hears_of_what_concerns_it(told, known):
    assert known_to_nginx(told) == known


def test_a_machine_is_as_configured_and_else_this_one():
    here = machine_of(None)
    assert here.origin == "this machine"
    said = machine_of(DeploymentTarget(nginx="/x", cpu_count=64))
    assert said == MachineFacts(here.memory_bytes, 64, "the configuration")


@pytest.mark.parametrize("is_off", [True, False])
def test_this_projects_own_settings_are_known(monkeypatch, is_off):
    monkeypatch.setitem(settings.DATABASES["default"], "DISABLE_SERVER_SIDE_CURSORS", is_off)
    assert server_side_cursors(DatabaseTarget(alias="default")) is not is_off
    assert server_side_cursors(DatabaseTarget(url="postgres://x")) is None
    own = celery_of(DeploymentTarget(celery="own"), MachineFacts(cpu_count=2))
    assert own.known["task_acks_late"] in {True, False}
    assert own.origin == "this project's Celery"


@pytest.mark.parametrize(
    "url", ["https://books.example:8443/", "env:BOOKS_URL", "https://${HOST}/"]
)
def test_nginx_gets_the_host_of_the_site_also_behind_a_reference(monkeypatch, url):
    monkeypatch.setenv("BOOKS_URL", "http://books.example")
    monkeypatch.setenv("HOST", "books.example")
    adviser = Adviser(parse_configuration({"sites": {"books": {"url": url}}}), Wish(offline=True))
    assert "server_name books.example;" in adviser.file_for("nginx").text


def test_a_host_that_was_given_needs_no_reference(monkeypatch):
    monkeypatch.delenv("BOOKS_URL", raising=False)
    configuration = parse_configuration({"sites": {"books": {"url": "env:BOOKS_URL"}}})
    with pytest.raises(ConfigurationError, match="BOOKS_URL"):
        Adviser(configuration, Wish(offline=True)).file_for("nginx")
    given = Wish(offline=True, server_name="books.example")
    assert "server_name books.example;" in Adviser(configuration, given).file_for("nginx").text
