"""A TCP proxy in front of a server, which cuts its clients off when told to."""

import asyncio
import threading
from contextlib import suppress
from enum import Enum

from service.embedded.ports import LOOPBACK

CHUNK_BYTES = 65536


class Line(Enum):
    """What the proxy does with its connections."""

    OPEN = "open"
    #: Connections end at once, and new ones are refused: a server that is down.
    CUT = "cut"
    #: Nothing is passed on any more, and nothing ends: a network that swallows packets.
    SILENT = "silent"


class Proxies:
    """All proxies of a stack, in one thread."""

    def __init__(self) -> None:
        self._all: list[Proxy] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def add(self, port: int) -> "Proxy":
        """Start a proxy in front of a port of this machine."""
        proxy = Proxy(self._loop, port)
        asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result()
        self._all.append(proxy)
        return proxy

    def stop(self) -> None:
        """End all connections, then the thread."""
        asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end_all(self) -> None:
        for proxy in self._all:
            await proxy.end()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


class Proxy:
    """One proxy: clients connect to ``port``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target_port: int) -> None:
        self.port = 0
        self._loop = loop
        self._target_port = target_port
        self._line = Line.OPEN
        self._opened = asyncio.Event()
        self._opened.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Take connections from now on."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        """Take no more connections, and end those that there are."""
        self._server.close()
        await self._set(Line.CUT)

    def set(self, line: Line) -> None:
        """Open, cut or silence the line, for old connections and new ones."""
        asyncio.run_coroutine_threadsafe(self._set(line), self._loop).result()

    async def _set(self, line: Line) -> None:
        was, self._line = self._line, line
        if line is Line.SILENT:
            self._opened.clear()
            return
        # What was silent does not come back to life: both ends have lost bytes.
        if line is Line.CUT or was is Line.SILENT:
            for writer in list(self._writers):
                writer.transport.abort()
        self._opened.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._opened.wait()
        if self._line is Line.CUT:
            writer.transport.abort()
            return
        try:
            there, away = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, away}
        self._writers |= ends
        try:
            await asyncio.gather(self._pass_on(reader, away), self._pass_on(there, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._opened.wait()
                writer.write(data)
                await writer.drain()
        if not writer.is_closing():
            with suppress(OSError):
                writer.write_eof()
