"""One leashed server process: its log, its readiness, its end."""

import contextlib
import os
import signal as signals
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from service.embedded.account import ServerAccount
from service.embedded.errors import EmbeddedError, ServerStartError
from service.embedded.leash import leashed

LOG_ROTATION_BYTES = 10_000_000
LOG_TAIL_BYTES = 8_000
LOG_TAIL_LINES = 15
POLL_INTERVAL_SECONDS = 0.02


class ServerProcess:
    """A server started on a leash, writing to a log file that the caller's account owns."""

    def __init__(
        self,
        command: list[str],
        *,
        name: str,
        log_path: Path,
        death_signal: signals.Signals,
        account: ServerAccount | None,
        standard_input: bytes = b"",
    ) -> None:
        """Start `command`; it receives `death_signal` when this process dies in any way.

        `standard_input` is handed over on a pipe, where no other user can read it.

        Raises EmbeddedError when called outside the main thread: the kernel would stop the server
        with the thread, not with the process.
        """
        if sys.platform == "linux" and threading.current_thread() is not threading.main_thread():
            raise EmbeddedError(
                f"{name} has to be started from the main thread: the kernel ties its life to the "
                "thread that starts it."
            )
        self.name = name
        self.log_path = log_path
        with log_path.open("ab") as log:
            self._log_start_bytes = log.tell()
            self._process = subprocess.Popen(
                leashed(command, signal=death_signal, user=account.name if account else None),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",  # readable for every account, and keeps no folder busy
                env=server_environment(),
                start_new_session=True,  # a Ctrl-C in the terminal is the caller's to pass on
            )
        self._hand_over(standard_input)

    def _hand_over(self, standard_input: bytes) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise EmbeddedError(f"{self.name} was started without a standard input.")
        # A process that ended before it read breaks the pipe; wait_until_ready says why it ended.
        with contextlib.suppress(BrokenPipeError), pipe:
            pipe.write(standard_input)

    @property
    def pid(self) -> int:
        """The server's process id; the leash became the server, so there is no other."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process still lives."""
        return self._process.poll() is None

    def wait_until_ready(self, is_ready: Callable[[], bool], deadline_seconds: float) -> None:
        """Return as soon as `is_ready` answers True.

        Raises ServerStartError, with the log's last lines, where the process ends first or the
        deadline passes; in the latter case the process is stopped.
        """
        deadline = time.monotonic() + deadline_seconds
        while self.running:
            if is_ready():
                return
            if time.monotonic() > deadline:
                self.stop([(signals.SIGKILL, 5)])
                raise ServerStartError(
                    f"{self.name} was not ready after {deadline_seconds:.0f} s. {self.log_excerpt()}"
                )
            time.sleep(POLL_INTERVAL_SECONDS)
        raise ServerStartError(
            f"{self.name} ended at start with exit code {self._process.returncode}. "
            f"{self.log_excerpt()}"
        )

    def stop(self, escalation: list[tuple[signals.Signals, float]]) -> None:
        """Send each signal in turn, and wait its number of seconds, until the process has ended.

        Raises EmbeddedError where it outlives all of them.
        """
        for signal, wait_seconds in escalation:
            if not self.running:
                return
            self._process.send_signal(signal)
            try:
                self._process.wait(wait_seconds)
            except subprocess.TimeoutExpired:
                continue
        if self.running:
            raise EmbeddedError(f"{self.name} (pid {self.pid}) does not end on any signal.")

    def log_since_start(self) -> str:
        """The last part of what this process has written, at most LOG_TAIL_BYTES."""
        with self.log_path.open("rb") as log:
            end_bytes = log.seek(0, os.SEEK_END)
            start_bytes = min(self._log_start_bytes, end_bytes)  # smaller after a rotation
            log.seek(max(start_bytes, end_bytes - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def log_excerpt(self) -> str:
        """The last lines of the log and its place, for the end of an error message."""
        lines = self.log_since_start().strip().splitlines()[-LOG_TAIL_LINES:]
        if not lines:
            return f"It wrote nothing to its log, {self.log_path}."
        return f"The end of its log, {self.log_path}:\n" + "\n".join(f"  {line}" for line in lines)


def server_environment() -> Mapping[str, str]:
    """The caller's environment without what would steer or leak into a server.

    PG* variables change what PostgreSQL's programs do; other variables may hold passwords, which
    every process of the same user can read. Messages are in English: start errors are told apart
    by their text.
    """
    kept = ("PATH", "HOME", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def rotate_log(log_path: Path, limit_bytes: int = LOG_ROTATION_BYTES) -> bool:
    """Move the log's content to `<name>.1` and empty the log where it has outgrown the limit.

    Safe while the server writes: it appends to the same file, which is cut, not replaced (lines
    written between the copy and the cut are lost). Returns whether anything was moved.
    """
    if not log_path.exists() or log_path.stat().st_size <= limit_bytes:
        return False
    rotated = log_path.with_name(log_path.name + ".1")
    with log_path.open("rb+") as log:
        rotated.write_bytes(log.read())
        rotated.chmod(0o600)
        log.truncate(0)
    return True
