"""What the programs of ``up`` load, and how they behave towards their neighbours: each in a process of its own."""

import os
import subprocess
import sys

import pytest

from service.up.programs import ROOT

_NEEDLESS = """
import sys
import service.up.celery
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"flower", "tornado", "prompt_toolkit"}))
"""

_STEPS_BACK = """
import os
from service.celery import prepare_to_fork
from service.niceness import NICENESS
before = os.nice(0)
prepare_to_fork()
print(NICENESS > 0, os.nice(0) == min(before + NICENESS, 19))
"""

_LETS_GO = """
import gc
import weakref
from service.celery import app, prepare_to_fork


class Held:
    def __init__(self):
        self.itself = self


@app.task
def leave_a_cycle():
    global seen
    seen = weakref.ref(Held())


prepare_to_fork()
gc.disable()
leave_a_cycle.apply()
print(seen())
"""


def said_by(*arguments: str) -> str:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "service.settings"}
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def test_workers_and_beat_load_no_plug_in_of_the_celery_command() -> None:
    assert said_by("-c", _NEEDLESS).split() == []


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_the_options_are_those_of_celery(command: str) -> None:
    told = said_by("-m", "service.up.celery", command, "--help")

    assert f"Usage: celery {command} " in told
    assert "--loglevel" in told


def test_a_worker_steps_back_for_others() -> None:
    assert said_by("-c", _STEPS_BACK).split() == ["True", "True"]


def test_a_worker_keeps_nothing_of_a_task_that_has_ended() -> None:
    assert said_by("-c", _LETS_GO).split() == ["None"]
