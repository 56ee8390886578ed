"""One child process of ``up``: how it is started, listened to and ended."""

import signal as signals
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.embedded.leash import leashed
from service.runtime import project_root
from service.up.output import Output

RELAY_END_SECONDS = 2.0


class Unit(Protocol):
    """Something that the supervisor keeps running: a program of ours or an embedded server."""

    @property
    def name(self) -> str:
        """What stands before its lines in the terminal."""

    def start(self) -> None:
        """Start it, from the main thread."""

    def ended(self) -> str | None:
        """Say how it ended (``exit code 1``), ``None`` while it runs."""

    def ask_to_stop(self) -> None:
        """Begin an orderly end; :meth:`ended` tells when it is over."""

    def hurry(self) -> None:
        """Ask again: give back what is being worked on instead of finishing it."""

    def kill(self) -> None:
        """End it at once."""

    @property
    def stop_patience_seconds(self) -> float:
        """How long an orderly end may take."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command of this service. No secret stands in ``command``: every user can list those.

    ``ready_text`` is part of the line that it prints when it has begun its work. Lines that hold
    one of ``unsaid`` are left out.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signals.Signals = signals.SIGTERM
    stop_patience_seconds: float = 10.0
    ready_text: str = ""
    unsaid: tuple[str, ...] = ()


class ProgramProcess:
    """A program as a child on a leash, its output relayed line by line.

    It is killed by the kernel when this process dies in any way (on Linux), so it may only be
    started from the main thread. A session of its own keeps the terminal's Ctrl-C away from it:
    the order of the end is the supervisor's.
    """

    def __init__(self, program: Program, environment: Mapping[str, str], output: Output) -> None:
        self.program = program
        self._environment = {**environment, **program.environment}
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._relay: threading.Thread | None = None
        self.is_ready = False

    @property
    def name(self) -> str:
        """What stands before its lines in the terminal."""
        return self.program.name

    @property
    def stop_patience_seconds(self) -> float:
        """How long an orderly end may take."""
        return self.program.stop_patience_seconds

    @property
    def pid(self) -> int | None:
        """The process id, ``None`` before the first start."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the program. Raises ``RuntimeError`` outside the main thread."""
        if sys.platform == "linux" and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name} must be started from the main thread")
        process = subprocess.Popen(
            leashed(list(self.program.command), signal=signals.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=project_root(),
            start_new_session=True,
        )
        self._process = process
        self.is_ready = not self.program.ready_text
        self._relay = threading.Thread(
            target=self._output.relay,
            args=(process.stdout, self.name, self._may_be_said),
            name=f"relay-{self.name}",
            daemon=True,
        )
        self._relay.start()

    def ended(self) -> str | None:
        """Say how it ended, ``None`` while it runs."""
        if self._process is None:
            return "not started"
        code = self._process.poll()
        return None if code is None else describe_exit(code)

    def ask_to_stop(self) -> None:
        """Send the program's stop signal."""
        self._send(self.program.stop_signal)

    def hurry(self) -> None:
        """Send the stop signal again: a worker then hands its work back."""
        self._send(self.program.stop_signal)

    def kill(self) -> None:
        """End it at once, and wait for its last lines."""
        self._send(signals.SIGKILL)

    def finish_output(self) -> None:
        """Wait until the last lines of an ended process are printed."""
        if self._relay is not None:
            self._relay.join(RELAY_END_SECONDS)

    def _may_be_said(self, line: str) -> bool:
        """Look for the sign of readiness; tell whether the line is for the terminal."""
        if self.program.ready_text in line:
            self.is_ready = True
        return not any(text in line for text in self.program.unsaid)

    def _send(self, number: signals.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # does nothing where the process has ended


def describe_exit(code: int) -> str:
    """Return ``exit code 3``, or ``signal SIGKILL`` for the negative codes of subprocess."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signals.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
