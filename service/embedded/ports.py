"""Ports on the loopback interface, and a start that survives losing the race for one."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
ATTEMPTS = 8


class PortTakenError(Exception):
    """Another process listens on the port that a server was to use."""


def free_port() -> int:
    """A port that the kernel says is free now; it may be taken a moment later."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could take the port now, connections of its last run notwithstanding."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def candidate_ports(
    remembered: int | None, pick: Callable[[], int], attempts: int = ATTEMPTS
) -> Iterator[int]:
    """The port used last time, where it is free, so that addresses survive; then fresh ones."""
    if remembered is not None and is_free(remembered):
        yield remembered
    for _ in range(attempts):
        yield pick()


def read_port(port_file: Path) -> int | None:
    """The port remembered in a file, or None where there is none to trust."""
    try:
        port = int(port_file.read_text())
    except (OSError, ValueError):
        return None
    return port if 1024 <= port <= 65535 else None


def write_port(port_file: Path, port: int) -> None:
    """Remember the port for the next start."""
    port_file.write_text(f"{port}\n")
