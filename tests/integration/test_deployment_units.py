"""What the units of systemd ask before they start a program, on a real ledger."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import systemd
from tests.up_process import ROOT, clean_environment


@pytest.mark.timeout(300)
def test_a_program_is_held_back_until_the_ledger_has_every_migration(
    make_database: Callable[[], str], tmp_path: Path
) -> None:
    environment = clean_environment(
        DATABASE_URL=make_database(),
        DJANGO_SETTINGS_MODULE="service.production",
        MAINTENANCE_STATE=str(tmp_path),
    )

    def code_of(*command: str) -> int:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, check=False, timeout=120
        )
        return done.returncode

    program, *asks = shlex.split(systemd.IS_MIGRATED)
    assert program == f"{systemd.BIN}/python"
    migrate = ("manage.py", "migrate", "--verbosity", "0")

    assert code_of(*asks) == 1  # no migration was ever applied
    assert code_of(*migrate, "maintenance", "0003") == 0
    assert code_of(*asks) == 1
    assert code_of(*migrate) == 0
    assert code_of(*asks) == 0
