"""Flower, started in a folder that has not its settings: it is closed all the same, or does not start."""

from pathlib import Path

from service.embedded.ports import free_port
from tests import flower_pages
from tests.polling import eventually


def test_its_settings_are_found_wherever_it_is_started(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    with flower_pages.flower(tmp_path, port, REDIS_URL=redis_url) as process:
        eventually(lambda: flower_pages.answers(process, port), 60, "Flower answers")
        assert flower_pages.ask(port, "/metrics")[0] == 401
        assert flower_pages.ask(port, "/metrics", flower_pages.LOGIN)[0] == 200


def test_without_its_settings_it_does_not_start(redis_url: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "flowerconfig.py")
    with flower_pages.flower(
        tmp_path, free_port(), REDIS_URL=redis_url, FLOWER_CONF=missing
    ) as process:
        complained = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert f"No such file or directory: '{missing}'" in complained
