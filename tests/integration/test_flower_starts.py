"""Flower, started in a folder that has not its settings: it is closed all the same, or does not start."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

from service.embedded.leash import leashed
from service.embedded.ports import free_port
from tests import flower_pages
from tests.polling import eventually
from tests.up_process import ROOT, clean_environment

PASSWORD = "0pen-sesame"


@contextmanager
def flower(folder: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command of the compose file, in ``folder``."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "service.flower", "flower"]
    process = subprocess.Popen(
        leashed([*command, "--address=127.0.0.1", f"--port={port}"], signal=SIGKILL),
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), FLOWER_PASSWORD=PASSWORD, **environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_its_settings_are_found_wherever_it_is_started(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    with flower(tmp_path, port, REDIS_URL=redis_url) as process:

        def answers() -> bool:
            assert process.poll() is None, process.communicate()[1]
            try:
                return flower_pages.ask(port, "/healthcheck")[0] == 200
            except ConnectionRefusedError:
                return False

        eventually(answers, 60, "Flower answers")
        assert flower_pages.ask(port, "/metrics")[0] == 401
        assert flower_pages.ask(port, "/metrics", f"admin:{PASSWORD}")[0] == 200


def test_without_its_settings_it_does_not_start(redis_url: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "flowerconfig.py")
    with flower(tmp_path, free_port(), REDIS_URL=redis_url, FLOWER_CONF=missing) as process:
        complained = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert f"No such file or directory: '{missing}'" in complained
