"""Progress as Flower sees it: words in an event, and no wait for a broker that is away."""

from typing import Any, cast

import pytest
from kombu.exceptions import OperationalError

from maintenance.core.runs import progress
from maintenance.core.runs.lease import Lease
from maintenance.core.runs.progress import LedgerProgress, words_of


class Held:
    """A lease that is held."""

    def check(self) -> None:
        """Say yes."""

    def renew(self, **_fields: Any) -> None:
        """Store nothing."""


class Watched:
    """A carrier that keeps what it is told, or whose broker is away."""

    request = None

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.events: list[tuple[str, Any]] = []

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        """Keep nothing."""

    def send_event(self, type_: str, retry: bool = True, **fields: Any) -> None:
        """Keep the event, then fail where the broker is away."""
        self.events.append((type_, fields["result"]))
        if self.is_away:
            raise OperationalError("Connection refused")

    def retry(self, **_options: Any) -> Exception:
        """Not asked for."""
        raise NotImplementedError


def progress_of(carrier: Watched) -> LedgerProgress:
    return LedgerProgress(cast("Lease", Held()), carrier)


@pytest.mark.parametrize(
    ("done", "total", "phase", "unit", "words"),
    [
        (35, 81, "vacuuming", "tables", "vacuuming, 35 of 81 tables (43 %)"),
        (1200, None, "reading", "keys", "reading, 1,200 keys"),
        (2, 4, "", "", "2 of 4 (50 %)"),
        (0, 0, "planning", "", "planning, 0"),
    ],
)
def test_progress_is_said_in_words(
    done: int, total: int | None, phase: str, unit: str, words: str
) -> None:
    assert words_of(done, total, phase=phase, unit=unit) == words


def test_an_event_carries_it() -> None:
    carrier = Watched()
    progress_of(carrier).update(35, 81, phase="vacuuming", unit="tables")

    assert carrier.events == [("task-progress", "vacuuming, 35 of 81 tables (43 %)")]


def test_a_broker_that_is_away_is_not_asked_again_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    carrier = Watched(is_away=True)
    under_way = progress_of(carrier)

    for number in range(4):
        now += 1.0
        under_way.update(number, 10)
    assert len(carrier.events) == 1
    assert "could not be sent to Flower" in caplog.text

    now += progress.EVENTS_AWAY_SECONDS
    under_way.update(5, 10)
    assert len(carrier.events) == 2
