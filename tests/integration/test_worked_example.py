"""The worked example of CONTRIBUTING.md is carried out as written, in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(
    r"^(?P<verb>Create|Append to) `(?P<path>[^`]+)`[^\n]*(?:\n(?!```)[^\n]*)*\n```\w+\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)

PROGRAM = """
import django
django.setup()
from maintenance.conf import configuration
from maintenance.core.job import Job
from maintenance.core.runs.registry import task_named
from maintenance.core.scheduling.schedule_sync import sync_schedules
from django.core.management import call_command

call_command("migrate", verbosity=0)
spec = task_named("report_prepared_transactions")
print("created:", *sync_schedules(configuration()).created, sep="\\n")
target = spec.resolve_target(configuration(), "own")
print("summary:", spec.function(Job("own", target, spec.options_type())).summary)
"""


@pytest.fixture
def copy_with_example(tmp_path: Path) -> Path:
    for name in ("maintenance", "service"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("celeryconfig.py", "manage.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    steps = list(STEP.finditer((ROOT / "CONTRIBUTING.md").read_text()))
    assert [step["verb"] for step in steps] == ["Create", "Create", "Append to", "Append to"]
    for step in steps:
        path = tmp_path / step["path"]
        assert path.exists() == (step["verb"] == "Append to")
        with path.open("a") as file:
            file.write("\n\n" * (step["verb"] == "Append to") + step["body"])
    return tmp_path


def test_the_worked_example_gives_a_task_a_schedule_and_a_report(
    copy_with_example: Path, make_database: Callable[[], str]
) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "service.settings",
        "DATABASE_URL": make_database(),
        "PYTHONPATH": str(copy_with_example),
    }

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=copy_with_example,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "maintenance: weekly report_prepared_transactions on own" in done.stdout
    assert "summary: 0 of 0 prepared transactions are old." in done.stdout
