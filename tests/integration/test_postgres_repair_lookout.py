"""Who waits for a repair is seen and let through, whatever holds up the repair's own thread."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from maintenance.core.errors import TargetUnavailable
from maintenance.core.job import SilentProgress
from maintenance.core.plans import Outcome
from maintenance.postgres.repair.time_limits import TimeLimits
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.repair_crews import Noted, do, our_sessions, step

LIMIT_SECONDS = 2.0
#: What hangs, hangs for so long unless the site has got through by then.
HELD_UP_SECONDS = 5.0
AT_WORK = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'maintenance:test%%'"
    " AND state = 'active' AND query LIKE '%%public.big'"
)


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database whose maintenance takes minutes: every page costs a tenth of a second."""
    url = make_database()
    ask(url, "CREATE TABLE big (id int) WITH (autovacuum_enabled = off)")
    ask(url, "INSERT INTO big SELECT generate_series(1, 200000)")
    ask(url, "DELETE FROM big WHERE id % 2 = 0")
    database = url.rpartition("/")[2]
    ask(url, f"ALTER DATABASE {database} SET vacuum_cost_delay = '100ms'")
    ask(url, f"ALTER DATABASE {database} SET vacuum_cost_limit = 1")
    return url


class Site:
    """Alters the table as soon as our statement is at work on it and ours is held up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.held_up = threading.Event()
        self.got_through = threading.Event()
        self.waited_seconds = 0.0
        self._thread = threading.Thread(target=self._alter)

    def hold_up(self) -> None:
        """Hang, as a broker or a ledger may."""
        self.held_up.set()
        self.got_through.wait(HELD_UP_SECONDS)

    def _alter(self) -> None:
        eventually(lambda: ask(self._url, AT_WORK) != [], 30, "our statement")
        self.held_up.wait(30)
        begin = time.monotonic()
        ask(self._url, "ALTER TABLE big ADD COLUMN more int")
        self.waited_seconds = time.monotonic() - begin
        self.got_through.set()

    @contextmanager
    def altering(self) -> Iterator[None]:
        """Alter the table beside the body."""
        self._thread.start()
        yield
        self._thread.join()


class HangingProgress(SilentProgress):
    """Hangs in its first update while our statement is at work."""

    def __init__(self, site: Site, url: str) -> None:
        self._site = site
        self._url = url

    def update(self, done: int, total: int | None = None, **_: Any) -> None:
        if not self._site.held_up.is_set() and ask(self._url, AT_WORK):
            self._site.hold_up()


class HangingSteps(Noted):
    """Hangs where the first outcome is to be noted."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site

    def record(self, key: str, outcome: Outcome) -> None:
        if not self._site.held_up.is_set():
            self._site.hold_up()
        super().record(key, outcome)


@pytest.mark.parametrize("statement", ["VACUUM public.big", "ANALYZE public.big"])
def test_a_progress_that_hangs_lets_nobody_wait_longer_than_the_limit(
    url: str, statement: str
) -> None:
    site = Site(url)
    with site.altering():
        work = do(
            url,
            [step("long", statement)],
            progress=HangingProgress(site, url),
            limits=TimeLimits.starting_now(window=None, budget_seconds=10),
        )

    assert 0 < site.waited_seconds < LIMIT_SECONDS
    assert work.harm.gave_way == 1
    assert 0 < work.harm.longest_wait_seconds < LIMIT_SECONDS
    assert "ALTER" not in work.harm.longest_waiter  # who waited is named, not what he asked
    assert work.harm.longest_waiter.startswith("process ")


def test_a_ledger_that_hangs_lets_nobody_wait_longer_than_the_limit(url: str) -> None:
    site = Site(url)
    noted = HangingSteps(site)
    with site.altering():
        work = do(
            url,
            [step("long", "VACUUM public.big", table=1), step("quick", "SELECT 1", table=2)],
            steps=noted,
            limits=TimeLimits.starting_now(window=None, budget_seconds=10),
        )

    assert 0 < site.waited_seconds < LIMIT_SECONDS
    assert work.harm.gave_way == 1
    assert "run quick" in noted.done()


def test_the_time_is_kept_while_the_progress_hangs(url: str) -> None:
    ended_at: list[float] = []

    class Hanging(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            if ended_at or not ask(url, AT_WORK):
                return
            eventually(lambda: ask(url, AT_WORK) == [], 30, "the end of our statement")
            ended_at.append(time.monotonic())

    begin = time.monotonic()
    work = do(
        url,
        [step("long", "VACUUM public.big")],
        progress=Hanging(),
        limits=TimeLimits.starting_now(window=None, budget_seconds=3),
    )

    assert ended_at[0] - begin < 5
    [(_, reason)] = work.left
    assert reason == "the time budget of 3 seconds is used up"


def test_nothing_stays_at_work_where_nobody_can_see_who_waits(url: str) -> None:
    blinded = threading.Event()

    class Blinding(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            if blinded.is_set() or not ask(url, AT_WORK):
                return
            blinded.set()
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
            assert ask(url, end, "maintenance:lookout%") == [(True,)]
            eventually(lambda: ask(url, AT_WORK) == [], 5, "the end of our statement")

    with pytest.raises(TargetUnavailable, match="was lost"):
        do(url, [step("long", "VACUUM public.big")], progress=Blinding())

    assert blinded.is_set()
    eventually(lambda: our_sessions(url) == [], seconds=10, what="the end of our sessions")


def test_a_repair_has_two_sessions_beside_those_that_work(url: str) -> None:
    names: set[str] = set()

    class Counting(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            asked = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE %s"
            names.update(row[0] for row in ask(url, asked, "maintenance:%"))

    do(url, [step("one", "SELECT pg_catalog.pg_sleep(0.5)")], progress=Counting())

    assert names == {"maintenance:watch", "maintenance:lookout", "maintenance:test"}
