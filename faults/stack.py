"""The running stack under fire: PostgreSQL, a broker, two beats and three workers, each on lines of its own."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2

from faults.proxy import Line, Proxies, Proxy
from faults.rabbitmq import RabbitMQ
from faults.waiting import eventually
from service.embedded.leash import leashed
from service.embedded.ports import LOOPBACK
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parent.parent
STOCK_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
OUR_SCHEDULER = "maintenance.core.scheduling.scheduler:LedgerScheduler"
BEATS = ("beat-a", "beat-b")
WORKERS = ("worker-a", "worker-b", "worker-c")


@dataclass(frozen=True, slots=True)
class Variant:
    """What runs: our scheduler or stock beat, with all guards or without one of them."""

    scheduler: str = OUR_SCHEDULER
    times: str = "scaled"
    visibility_seconds: int = 4 * 3600
    without: str = ""  # one of faults.site.without.GUARDS
    broker: str = "redis"  # or "rabbitmq"; results and streams lie in Valkey all the same
    recycles: bool = True  # pool processes, as in production
    day_seconds: float = 0.0  # what a day of the retention is; 0: a day
    starts_anew: bool = False  # processes by themselves, as in production: no fork shares memory

    @property
    def is_stock(self) -> bool:
        """Whether this is django-celery-beat alone."""
        return self.scheduler == STOCK_SCHEDULER

    @property
    def recovery_limit_seconds(self) -> float:
        """What I5 allows. Scaled, the leases are a tenth; starting processes takes as long as ever."""
        return 60.0 if self.times == "production" else 20.0


@dataclass(slots=True)
class Node:
    """One beat or worker, and its lines to the servers."""

    name: str
    ledger: Proxy
    broker: Proxy
    pid: int = 0
    #: All processes that the driver has killed under this name, with the times.
    killed: list[tuple[int, float]] = field(default_factory=list)

    @property
    def role(self) -> str:
        """``beat`` or ``worker``."""
        return self.name.partition("-")[0]


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Stack:
    """Servers and processes in one folder, to be started once and hurt many times."""

    def __init__(self, folder: Path, variant: Variant) -> None:
        self.folder = folder
        self.variant = variant
        self.points = folder / "points"
        self.reports = folder / "reports"
        self.logs = folder / "logs"
        for path in (self.points, self.reports, self.logs):
            path.mkdir()
        self._password = secrets.token_hex(16)
        self.postgres = EmbeddedPostgres(
            folder / "postgres",
            self._password,
            # A site's server seldom looks whether clients live: ending what they left is up to us.
            settings={"fsync": "off", "client_connection_check_interval": "0"},
        )
        self.valkey = EmbeddedValkey(folder / "valkey", self._password)
        self.rabbitmq = RabbitMQ(folder / "rabbitmq") if variant.broker == "rabbitmq" else None
        self.proxies = Proxies()
        self.nodes: dict[str, Node] = {}
        #: Those that run unless a fault takes them away. Two stock beats send everything twice.
        self.names: tuple[str, ...] = (
            (BEATS[0], *WORKERS) if variant.is_stock else (*BEATS, *WORKERS)
        )
        #: Names and pids of those that ended though nobody killed them, and were started again.
        self.deaths: list[tuple[str, int]] = []
        self._zygote: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.postgres.start()
        self.valkey.start()
        if self.rabbitmq is not None:
            self.rabbitmq.start()
        broker_port = self.valkey.port if self.rabbitmq is None else self.rabbitmq.port
        for name in ("ledger", "target"):
            self.postgres.ensure_database(name)
        self.nodes = {
            name: Node(name, self.proxies.add(self.postgres.port), self.proxies.add(broker_port))
            for name in (*BEATS, *WORKERS)
        }
        os.environ.update(self.environment(self.postgres.port, broker_port))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._zygote is not None:
            self._zygote.kill()  # its forks die with it
            self._zygote.wait()
        self.proxies.stop()
        if self.rabbitmq is not None:
            self.rabbitmq.stop()
        self.valkey.stop()
        self.postgres.stop()

    def environment(self, postgres_port: int, broker_port: int) -> dict[str, str]:
        """Return what a process needs to meet the servers at these ports."""
        target = self.postgres.url("target")
        return {
            "DJANGO_SETTINGS_MODULE": "faults.site.settings",
            "FAULTS_PASSWORD": self._password,
            "FAULTS_POSTGRES_PORT": str(postgres_port),
            "FAULTS_BROKER_URL": self._broker_url(broker_port),
            # A Redis broker has the results as well, on the same line.
            "FAULTS_RESULTS_URL": self.valkey.url()
            if self.rabbitmq
            else self._broker_url(broker_port),
            "FAULTS_TARGET_URL": target,
            "FAULTS_STREAMS_URL": self.valkey.url(1),
            "FAULTS_REPORTS": str(self.reports),
            "FAULTS_POINTS": str(self.points),
            "FAULTS_TIMES": self.variant.times,
            "MALLOC_ARENA_MAX": "2",  # as in production (deploy/programs.toml)
            "FAULTS_SCHEDULER": self.variant.scheduler,
            "FAULTS_VISIBILITY_SECONDS": str(self.variant.visibility_seconds),
            "FAULTS_WITHOUT": self.variant.without,
            "FAULTS_RECYCLES": "yes" if self.variant.recycles else "no",
            "FAULTS_DAY_SECONDS": str(self.variant.day_seconds or ""),
        }

    def _broker_url(self, port: int) -> str:
        if self.rabbitmq is not None:
            return self.rabbitmq.url(port)
        return self.valkey.url().replace(f":{self.valkey.port}/", f":{port}/")

    def start_zygote(self) -> None:
        """Start the process that all others are forked from."""
        self._zygote = subprocess.Popen(
            leashed([sys.executable, "-m", "faults.zygote"], signal=signal.SIGKILL),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.logs / "zygote.log").open("ab"),
            text=True,
            cwd=ROOT,
        )
        self._answer()

    def _answer(self) -> int:
        assert self._zygote is not None
        assert self._zygote.stdout is not None
        line = self._zygote.stdout.readline()
        if not line:
            raise RuntimeError(f"The zygote ended: see {self.logs / 'zygote.log'}")
        return int(json.loads(line)["pid"])

    def start(self, *names: str, clock: str = "") -> None:
        """Start beats and workers; return when they have begun, not when they are ready.

        ``clock`` is by how much their clock is wrong, as libfaketime writes it: ``+1h``.
        """
        for name in names:
            self._start(self.nodes[name], clock)

    def _start(self, node: Node, clock: str = "") -> None:
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        if node.pid:  # one that was killed has none
            self.deaths.append((node.name, node.pid))
        beat = ["beat", "--pidfile=", "-l", "INFO"]
        worker = ["worker", "-n", f"{node.name}@{LOOPBACK}", "-Q", "high,medium,low", "-c", "2"]
        order = {
            "role": node.role,
            "clock": clock,
            "anew": self.variant.starts_anew,
            "log": str(self.logs / f"{node.name}.log"),
            "environment": self.environment(node.ledger.port, node.broker.port),
            "arguments": beat
            if node.role == "beat"
            else [*worker, "-l", "INFO", "--without-gossip", "--without-mingle"],
        }
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        node.pid = self._answer()

    def kill(self, node: Node) -> None:
        """Kill -9 a node with its whole group, and wait until it is gone."""
        if not node.pid:
            return
        node.killed.append((node.pid, time.time()))
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        eventually(lambda: not is_alive(node.pid), 10, f"{node.name} is gone")
        node.pid = 0

    def signal(self, node: Node, number: signal.Signals) -> None:
        """Send a signal to a node's whole group."""
        os.killpg(node.pid, number)

    def node_of(self, group: int) -> Node:
        """Return the node whose process group this is."""
        return next(node for node in self.nodes.values() if node.pid == group)

    def dead_nodes(self) -> list[Node]:
        """Return those that have ended though nobody killed them."""
        return [node for node in self.nodes.values() if node.pid and not is_alive(node.pid)]

    def heal(self) -> None:
        """Open every line, drop every order, and start what does not run."""
        for path in self.points.iterdir():
            path.unlink(missing_ok=True)
        for node in self.nodes.values():
            node.ledger.set(Line.OPEN)
            node.broker.set(Line.OPEN)
            if node.name in self.names and (not node.pid or not is_alive(node.pid)):
                self._start(node)

    def ask(self, database: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement directly on the server."""
        conn = psycopg2.connect(self.postgres.url(database), connect_timeout=5)
        try:
            conn.autocommit = True
            with conn.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            conn.close()

    def arm(self, point: str) -> None:
        """Order the next process that comes to ``point`` (``worker.claimed``) to stop there."""
        (self.points / f"{point}.order").touch()

    def hit(
        self, point: str, seconds: float, meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Wait until a process stands at ``point``, calling ``meanwhile`` in between; return who it is."""
        path = self.points / f"{point}.hit"

        def is_there() -> bool:
            meanwhile()
            return path.exists()

        eventually(is_there, seconds, f"a process reaches {point}")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def release(self, point: str) -> None:
        """Let the process at ``point`` go on."""
        (self.points / f"{point}.hit").unlink(missing_ok=True)
