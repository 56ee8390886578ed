"""A network between two programs of a test, as a process of its own.

In the process of the test a relay would stand still with it: a request to cancel holds all its threads.
"""

import os
import socket
import subprocess
import sys
import threading


class Relay:
    """A network between us and the server, which can be cut: taken ``at``, it leaves from ``source``."""

    def __init__(self, port: int, source: str = "127.0.0.1", at: str = "127.0.0.1") -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port), source, at],
            stdin=subprocess.PIPE,  # it ends when nobody holds the other side any more
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def cut(self) -> None:
        """End every connection, and take no new one; once more does nothing."""
        self._process.kill()
        self._process.communicate()


def _relay(port: int, source: str, at: str) -> None:
    """Pass on what comes, until standard input ends."""
    listener = socket.create_server((at, 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_accept, args=(listener, port, source), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def _accept(listener: socket.socket, port: int, source: str) -> None:
    while True:
        client, _ = listener.accept()
        try:
            upstream = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
        except OSError:  # the address that it leaves from is gone
            client.close()
            continue
        for come, gone in ((client, upstream), (upstream, client)):
            threading.Thread(target=_pass_on, args=(come, gone), daemon=True).start()


def _pass_on(come: socket.socket, gone: socket.socket) -> None:
    try:
        while chunk := come.recv(65_536):
            gone.sendall(chunk)
        gone.shutdown(socket.SHUT_WR)
    except OSError:
        return


if __name__ == "__main__":
    _relay(int(sys.argv[1]), sys.argv[2], sys.argv[3])
