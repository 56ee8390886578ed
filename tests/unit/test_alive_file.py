"""The file by which a beat or a worker is seen to live."""

import logging
import os
from pathlib import Path

import pytest
from celery.signals import heartbeat_sent

from maintenance.core.runs import alive_file
from maintenance.core.scheduling.scheduler import LedgerScheduler


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alive"
    monkeypatch.setenv(alive_file.VARIABLE, str(path))
    return path


def test_each_touch_makes_it_new(named: Path) -> None:
    alive_file.touch_alive_file()
    os.utime(named, (0, 0))
    alive_file.touch_alive_file()
    assert named.stat().st_mtime > 0


def test_without_a_name_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(alive_file.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    alive_file.touch_alive_file()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_nothing_is_said_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(alive_file.VARIABLE, str(tmp_path / "none" / "alive"))
    with caplog.at_level(logging.WARNING, logger="maintenance.alive"):
        alive_file.touch_alive_file()
    assert "cannot be written: No such file" in caplog.text


def test_a_worker_touches_it_with_each_heartbeat(named: Path) -> None:
    alive_file.watch_worker()
    try:
        heartbeat_sent.send(sender=None)
    finally:
        heartbeat_sent.disconnect(dispatch_uid="maintenance.alive")
    assert named.exists()


def test_a_beat_touches_it_also_while_it_stands_by(
    named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LedgerScheduler, "_tick", lambda _self: 2.0)
    scheduler = LedgerScheduler.__new__(LedgerScheduler)
    assert scheduler.tick() == 2.0
    assert named.exists()
