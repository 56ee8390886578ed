"""The shorter times under fire: each is set where the module that has it looks for it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SHORTER = """
import django
django.setup()
from maintenance.core.runs import ledger, retention
from maintenance.core.scheduling import leadership
print(ledger.LEASE_SECONDS, leadership.LEASE_SECONDS, retention.DAY.total_seconds())
"""


def test_a_process_under_fire_has_shorter_times_and_a_shorter_day() -> None:
    started = subprocess.run(
        [sys.executable, "-c", SHORTER],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "faults.site.settings",
            "FAULTS_TIMES": "scaled",
            "FAULTS_DAY_SECONDS": "240",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.stdout == "3.0 3.0 240.0\n", started.stderr
