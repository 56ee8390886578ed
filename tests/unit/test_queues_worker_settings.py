"""Celery workers: what their files and command lines say, and what is advised."""

import os
from pathlib import Path

import pytest
from celery.bin.worker import worker
from kombu import Queue

from maintenance.core.findings import Finding
from maintenance.core.machine import MachineFacts
from maintenance.core.python_settings import python_settings
from maintenance.queues.worker_review import celery_conf, review_workers
from maintenance.queues.worker_settings import (
    RunningWorker,
    WorkerSettings,
    command_line,
    read_worker_settings,
    worker_settings,
)

MACHINE = MachineFacts(memory_bytes=4 * 1024**3, cpu_count=2)


def read(folder: Path, text: str) -> WorkerSettings:
    path = folder / "celeryconfig.py"
    path.write_text(text)
    return read_worker_settings(str(path), "", 2)


def found(settings: WorkerSettings) -> dict[str, Finding]:
    return {f.code: f for f in review_workers("site", settings, MACHINE).findings}


def test_settings_of_a_django_project_are_read_by_their_prefix(tmp_path):
    settings = read(
        tmp_path,
        "CELERY_TASK_ACKS_LATE = True\nCELERYD_PREFETCH_MULTIPLIER = 1\nSECRET_KEY = 'x'\n"
        "CELERY_BROKER_TRANSPORT_OPTIONS = {'visibility_timeout': 43200}\n",
    )
    assert settings.known["task_acks_late"] is True
    assert settings.known["worker_prefetch_multiplier"] == 1
    assert settings.visibility_timeout_seconds == 43200


def test_a_task_longer_than_the_visibility_timeout_is_done_twice(tmp_path):
    settings = read(tmp_path, "task_acks_late = True\ntask_time_limit = 7200\n")
    finding = found(settings)["celery-delivered-twice"]
    assert finding.evidence == {
        "task_time_limit_seconds": 7200,
        "visibility_timeout_seconds": 3600.0,
    }
    safe = "task_acks_late = True\ntask_time_limit = 600\nworker_prefetch_multiplier = 1\nworker_max_tasks_per_child = 9"
    assert found(read(tmp_path, safe)) == {}


def test_rabbitmq_has_no_visibility_timeout(tmp_path):
    text = "broker_url = 'amqp://b'\ntask_acks_late = True\ntask_time_limit = 7200\n"
    assert "celery-delivered-twice" not in found(read(tmp_path, text))


def test_the_guides_option_queue_and_the_priority_of_a_queue_do_not_exist():
    options = {name for parameter in worker.params for name in parameter.opts}
    assert "--queue" not in options
    assert {"--queues", "--concurrency", "--pool"} <= options
    queue = Queue("high", routing_key="high", priority=10)
    assert not hasattr(queue, "priority")
    assert queue.max_priority is None
    assert queue.queue_arguments is None


def test_celerys_own_settings_are_named(tmp_path):
    assert found(read(tmp_path, "")).keys() == {
        "celery-acknowledged-early",
        "celery-never-renewed",
        "celery-no-time-limit",
    }


def test_what_the_environment_decides_is_withheld(tmp_path):
    settings = read(tmp_path, "import os\nworker_concurrency = int(os.environ['C'])\n")
    assert settings.concurrency(2) is None
    assert "worker_concurrency is computed" in found(settings)["celery-settings"].sentence


def test_concurrency_is_that_of_all_workers_that_run():
    workers = (
        RunningWorker("high", "high", {"worker_concurrency": 6}),
        RunningWorker("low", "low", {}),
    )
    settings = worker_settings({}, {}, workers, "test")
    assert settings.concurrency(4) == 10
    assert settings.concurrency(None) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("celery -A site worker -Q high,low -c4 -n w1", {"worker_concurrency": 4}),
        (
            "celery worker --concurrency=8 --max-tasks-per-child 50",
            {"worker_concurrency": 8, "worker_max_tasks_per_child": 50},
        ),
        ("celery worker --autoscale=10,3", {"worker_concurrency": 10}),
        (
            "celery worker -P gevent --concurrency 500",
            {"worker_concurrency": 500, "worker_pool": "gevent"},
        ),
        ("celery worker --concurrency many", {}),
    ],
)
def test_a_command_line_is_read(words, told):
    assert command_line(words.split())[0] == told


def test_green_threads_are_no_crowd_and_a_solo_worker_takes_one_task():
    green = RunningWorker("g", "", {"worker_concurrency": 500, "worker_pool": "gevent"})
    assert "celery-crowded" not in found(worker_settings({}, {}, (green,), "test"))
    solo = RunningWorker("s", "", {"worker_pool": "solo"})
    assert worker_settings({}, {}, (solo,), "test").concurrency(8) == 1


def test_too_many_at_once_are_named():
    workers = (RunningWorker("all", "", {"worker_concurrency": 20}),)
    finding = found(worker_settings({}, {}, workers, "test"))["celery-crowded"]
    assert finding.evidence == {"concurrency": 20, "cpu_count": 2}


@pytest.mark.parametrize("longest", [None, 600.0])
def test_our_own_file_leaves_nothing_to_say(tmp_path, longest):
    file = celery_conf(MACHINE, longest, "Test.")
    assert all(line.reason for line in file.lines)
    codes = found(read(tmp_path, file.text)).keys()
    assert codes == (set() if longest else {"celery-no-time-limit-late", "celery-no-time-limit"})
    if longest is None:
        assert "visibility_timeout are withheld" in file.text


def test_no_worker_is_found_that_does_not_run():
    assert read_worker_settings("", f"no-such-app-{os.getpid()}", 2).workers == ()


def test_the_file_that_is_read_is_the_one_that_is_written():
    text = celery_conf(MACHINE, 60, "Test.").text
    values = python_settings(text, None).values
    assert values["broker_transport_options"] == {"visibility_timeout": 240}
