"""A network between two programs of a test."""

import socket
import threading
from contextlib import closing, suppress


class Relay:
    """A network between us and the server, which can be cut; it leaves from ``source``."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._to, self._from = ("127.0.0.1", port), (source, 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_cut = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._to, source_address=self._from)
            self._sockets += [client, upstream]
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        """End every connection, and take no new one; once more does nothing."""
        if self._is_cut:
            return
        self._is_cut = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            with closing(end), suppress(OSError):  # the other side may have ended it before
                end.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
    except OSError:
        return
