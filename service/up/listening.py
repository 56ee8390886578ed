"""Ports that the web pages listen on: free before the start, answering after it."""

import socket

from service.embedded.ports import LOOPBACK, free_port
from service.up.errors import UpRefused

CONNECT_TIMEOUT_SECONDS = 0.2


def claim_port(port: int, what: str, option: str, variable: str) -> int:
    """Return the port to use for ``what``: the given one where it is free, any free one for 0.

    Raises :class:`UpRefused` where another program listens there, or the port is not allowed.
    """
    if port == 0:
        return free_port()
    advice = f"choose another with {option} or {variable}, or 0 for any free one."
    if not 0 < port < 65536:
        raise UpRefused(f"{port} is no port number for {what}: {advice}")
    with socket.socket() as probe:
        # As the web servers do it: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except PermissionError:
            raise UpRefused(f"This user may not use port {port} for {what}: {advice}") from None
        except OSError as error:
            raise UpRefused(
                f"Port {port}, wanted for {what}, is taken by another program"
                f" ({error.strerror}): stop that program, or {advice}"
            ) from None
    return port


def is_listening(port: int) -> bool:
    """Tell whether something accepts connections on a port of the loopback interface."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=CONNECT_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False
