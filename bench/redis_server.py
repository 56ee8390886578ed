"""Servers of Redis's kind of a bench's own, gone with all their data when the bench ends."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from service.embedded.binaries import locate_valkey
from service.embedded.valkey import EmbeddedValkey


def redis_servers() -> Iterator[tuple[str, str]]:
    """Yield name and URL of the embedded Valkey, and of the installed Redis where there is one.

    They run one after the other: the next one starts when the one before has stopped.
    """
    installed = shutil.which("redis-server")
    for program in (None, installed) if installed else (None,):
        with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
            Path(folder).chmod(0o711)  # root's servers run under another account
            with EmbeddedValkey(
                Path(folder) / "server",
                secrets.token_hex(16),
                binaries=locate_valkey(program),
                settings={"appendonly": "no"},
            ) as server:
                yield _name(server.url()), server.url()


def _name(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        info = client.info("server")
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"
