"""Gunicorn: the guide's file, command lines, and workers that fit a machine."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Finding
from maintenance.core.machine import MachineFacts
from maintenance.web.server_configuration.gunicorn_review import (
    GUIDE_SETTINGS,
    advised_workers,
    guide_rows,
    gunicorn_conf,
    review_gunicorn,
)
from maintenance.web.server_configuration.gunicorn_settings import (
    GunicornSettings,
    command_line,
    read_gunicorn,
)

MB = 1024**2
GB = 1024**3
#: "Gunicorn Configuration" of the guide, as it is printed.
GUIDE = """
import multiprocessing

# Worker processes
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = 'gthread'
threads = 4
worker_connections = 1000

# Performance tuning
max_requests = 1000
max_requests_jitter = 50
timeout = 120
keepalive = 5

# Preload app for faster worker spawning
preload_app = True
"""
MACHINE = MachineFacts(memory_bytes=8 * GB, cpu_count=4)


def read(folder: Path, text: str, cpu_count: int | None = 4) -> GunicornSettings:
    path = folder / "gunicorn.conf.py"
    path.write_text(text)
    return read_gunicorn(str(path), "", cpu_count)


def found(settings: GunicornSettings, machine: MachineFacts = MACHINE) -> dict[str, Finding]:
    return {f.code: f for f in review_gunicorn("site", settings, machine).findings}


def test_the_guides_file_is_known_setting_by_setting(tmp_path):
    settings = read(tmp_path, GUIDE)
    rows = {row["setting"]: row for row in guide_rows(settings, MACHINE)}
    assert list(rows) == list(GUIDE_SETTINGS)
    assert rows["workers"]["deployed"] == rows["workers"]["advised"] == "9"
    assert {name for name, row in rows.items() if row["verdict"] == "change"} == {"keepalive"}
    assert found(settings).keys() == {"gunicorn-counts-cpus", "gunicorn-timeout-of-threads"}
    assert settings.connections == 36


def test_without_settings_one_request_is_answered_at_a_time(tmp_path):
    codes = found(read(tmp_path, "bind = '127.0.0.1:8000'"))
    assert codes.keys() == {"gunicorn-one-at-a-time", "gunicorn-never-renewed"}
    assert "WEB_CONCURRENCY" in codes["gunicorn-one-at-a-time"].sentence


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("workers = 40", "gunicorn-too-many-workers"),
        ("max_requests = 1000", "gunicorn-renewed-together"),
        ("timeout = 0", "gunicorn-never-ended"),
        ("timeout = 300", "gunicorn-ended-late"),
        ("reload = True", "gunicorn-reloads"),
        ("workers = 9", "gunicorn-not-preloaded"),
        ("import os\nworkers = int(os.environ['WORKERS'])", "gunicorn-workers"),
    ],
)
def test_a_planted_fault_is_named(tmp_path, text, code):
    assert code in found(read(tmp_path, text))


def test_workers_that_run_are_weighed(tmp_path):
    settings = read(tmp_path, GUIDE)
    heavy = GunicornSettings(settings.known, written=settings.written, worker_bytes=GB)
    finding = found(heavy)["gunicorn-workers-exceed-memory"]
    assert finding.advice.startswith("Set workers = 4,")


def test_what_depends_on_the_environment_is_withheld_and_counts_for_nothing(tmp_path):
    settings = read(tmp_path, "import os\nworkers = int(os.getenv('W'))\nthreads = 4")
    assert settings.connections is None
    row = next(row for row in guide_rows(settings, MACHINE) if row["setting"] == "workers")
    assert row["verdict"].startswith("unknown: it is read from the environment")


def test_green_workers_open_as_many_connections_as_visitors_ask_for(tmp_path):
    assert read(tmp_path, "workers = 4\nworker_class = 'gevent'").connections is None


def test_a_command_line_goes_before_the_file():
    words = "gunicorn site.wsgi -w4 --threads=8 -k gthread --max-requests 500 --preload -t many"
    assert command_line(words.split()) == {
        "workers": 4,
        "threads": 8,
        "worker_class": "gthread",
        "max_requests": 500,
        "preload_app": True,
    }


def test_without_processors_no_number_is_given():
    assert advised_workers(MachineFacts(), None) is None
    text = gunicorn_conf(MachineFacts(), None, "Test.").text
    assert "# workers is withheld: it needs the number of processors" in text
    assert "\nworkers =" not in text


@given(
    cpus=st.integers(1, 256),
    memory=st.integers(256 * MB, 1024 * GB),
    each=st.none() | st.integers(MB, 4 * GB),
)
def test_advised_workers_fit_processors_and_memory(cpus, memory, each):
    advised = advised_workers(MachineFacts(memory, cpus), each)
    assert advised is not None
    assert 1 <= advised.workers <= 2 * cpus + 1
    assert advised.workers == 1 or advised.workers * (each or 256 * MB) <= memory / 2


def test_our_own_file_leaves_nothing_to_change(tmp_path):
    file = gunicorn_conf(MACHINE, None, "Test.")
    settings = read(tmp_path, file.text)
    assert {row["verdict"] for row in guide_rows(settings, MACHINE)} == {"fits"}
    assert found(settings).keys() == {"gunicorn-timeout-of-threads"}
    assert all(line.reason for line in file.lines)
