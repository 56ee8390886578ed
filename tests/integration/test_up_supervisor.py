"""The supervisor with real child processes: restarts, order of the end, patience."""

import io
import os
import signal as signals
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rich.console import Console

from service.embedded.errors import ServerStartError
from service.embedded.ports import LOOPBACK
from service.embedded.valkey import EmbeddedValkey
from service.up.output import Output
from service.up.processes import Program, ProgramProcess
from service.up.servers import ServerUnit
from service.up.supervisor import Supervisor
from tests.polling import eventually
from tests.up_process import clean_environment

SLEEPER = "import time; print('begun', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


class Terminal:
    """Where the supervisor's lines go, and the processes that write there."""

    def __init__(self) -> None:
        self.written = io.StringIO()
        self.output = Output(Console(file=self.written, width=200))

    def process(self, name: str, code: str, patience_seconds: float = 10.0) -> ProgramProcess:
        program = Program(
            name=name,
            command=(sys.executable, "-c", code),
            stop_patience_seconds=patience_seconds,
            ready_text="begun",
        )
        return ProgramProcess(program, clean_environment(), self.output)

    @property
    def text(self) -> str:
        return self.written.getvalue()


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def server(server_root: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, not started."""
    server = EmbeddedValkey(server_root / "supervised", "p")
    yield server
    server.stop()


def never() -> bool:
    return False


def test_lines_of_a_program_are_relayed_and_its_readiness_noticed(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    process = terminal.process("sleeper", SLEEPER)
    supervisor.start(process)
    assert supervisor.wait_until(lambda: process.is_ready, 10)
    supervisor.stop([], never)
    assert "sleeper      | begun" in terminal.text
    assert process.ended() == "signal SIGTERM"


def test_a_program_that_ends_is_started_again_and_named(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    process = terminal.process("sleeper", SLEEPER)
    supervisor.start(process)
    supervisor.wait_until(lambda: process.is_ready, 10)
    first_pid = process.pid
    supervisor.tend()
    assert process.pid == first_pid

    process.kill()
    assert supervisor.wait_until(lambda: process.pid != first_pid and process.is_ready, 15)
    supervisor.stop([], never)
    assert "sleeper ended unexpectedly (signal SIGKILL); starting it again in 1 s" in terminal.text


def test_a_program_that_cannot_live_is_tried_ever_more_rarely(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    supervisor.start(terminal.process("broken", "raise SystemExit(3)"))
    assert supervisor.wait_until(lambda: "again in 4 s" in terminal.text, 20)
    supervisor.stop([], never)
    assert terminal.text.index("(exit code 3); starting it again in 1 s") < terminal.text.index(
        "again in 2 s"
    )


class FailingServer:
    """A unit whose second start fails, as a server's does whose disk is full."""

    name = "server"
    stop_patience_seconds = 0.0

    def __init__(self) -> None:
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        if self.starts == 2:
            raise ServerStartError("No space left on device.")

    def ended(self) -> str | None:
        return "see its log" if self.starts < 3 else None

    def ask_to_stop(self) -> None:
        raise ServerStartError("It does not end on any signal.")

    def hurry(self) -> None:
        """Nothing to hurry."""

    def kill(self) -> None:
        self.starts = 0


def test_a_start_that_fails_is_told_and_tried_again(terminal: Terminal) -> None:
    clock = [0.0]
    supervisor = Supervisor(terminal.output, clock=lambda: clock[0])
    server = FailingServer()
    supervisor.start(server)
    for _ in range(40):
        clock[0] += 0.5
        supervisor.tend()
    assert "server could not be started (No space left on device.)" in terminal.text
    assert server.starts == 3


def test_a_server_comes_back_on_its_port_or_is_tried_again(
    terminal: Terminal, server: EmbeddedValkey
) -> None:
    clock = [0.0]
    supervisor = Supervisor(terminal.output, clock=lambda: clock[0])
    supervisor.start(ServerUnit("valkey", server))
    port, pid = server.port, server.pid
    assert pid is not None
    os.kill(pid, signals.SIGKILL)
    eventually(lambda: not server.running, 10, "the server is gone")

    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind((LOOPBACK, port))
        rival.listen()
        for _ in range(4):
            clock[0] += 0.5
            supervisor.tend()
        assert f"(another process has taken port {port} of 127.0.0.1" in terminal.text
        assert server.pid is None
    clock[0] += 60
    supervisor.tend()
    assert server.running
    assert server.port == port
    with redis.Redis.from_url(server.url()) as client:
        assert client.ping()
    supervisor.stop([], never)


def test_an_end_that_fails_does_not_keep_the_others_from_ending(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    process = terminal.process("sleeper", SLEEPER)
    server = FailingServer()
    server.starts = 2  # past the start that fails
    supervisor.start(process)
    supervisor.start(server)
    supervisor.wait_until(lambda: process.is_ready, 10)
    supervisor.stop([], never)
    assert "It does not end on any signal." in terminal.text
    assert process.ended() is not None


def test_groups_end_in_the_given_order_and_the_rest_in_reverse(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    farewell = (
        "import signal, sys, time\n"
        "def end(*_): print('ends', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('begun', flush=True)\n"
        "time.sleep(600)"
    )
    processes = [terminal.process(name, farewell) for name in ("first", "second", "a", "b")]
    for process in processes:
        supervisor.start(process)
    assert supervisor.wait_until(lambda: all(p.is_ready for p in processes), 20)
    supervisor.stop([["b"], ["a"]], never)
    ends = [line.split()[0] for line in terminal.text.splitlines() if "ends" in line]
    assert ends == ["b", "a", "second", "first"]


def test_a_program_that_ignores_the_signal_is_killed_after_its_patience(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    process = terminal.process("stubborn", STUBBORN, patience_seconds=0.3)
    supervisor.start(process)
    supervisor.wait_until(lambda: process.is_ready, 10)
    supervisor.stop([], never)
    assert process.ended() == "signal SIGKILL"
    assert "stubborn did not end in time and is killed" in terminal.text


def test_somebody_in_a_hurry_does_not_wait_for_patience(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    process = terminal.process("stubborn", STUBBORN, patience_seconds=600)
    supervisor.start(process)
    supervisor.wait_until(lambda: process.is_ready, 10)
    begun = time.monotonic()
    supervisor.stop([], lambda: True)
    assert process.ended() == "signal SIGKILL"
    assert time.monotonic() - begun < 20


def test_a_program_is_refused_outside_the_main_thread(terminal: Terminal) -> None:
    errors: list[str] = []

    def start() -> None:
        try:
            terminal.process("sleeper", SLEEPER).start()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert errors == ["sleeper must be started from the main thread"]


def test_ctrl_c_in_the_terminal_does_not_reach_a_program(terminal: Terminal) -> None:
    supervisor = Supervisor(terminal.output)
    process = terminal.process("group", "import os; print('begun', os.getpgrp(), flush=True)")
    supervisor.start(process)
    supervisor.wait_until(lambda: process.is_ready, 10)
    supervisor.stop([], never)
    assert f"begun {process.pid}" in terminal.text
    assert process.program.stop_signal is signals.SIGTERM
