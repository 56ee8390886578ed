"""A real streaming standby, made from a copy of a stopped server's data."""

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.embedded.account import make_passable_directory, server_account
from service.embedded.postgres import SUPERUSER, EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ask


@contextmanager
def primary_and_standby(
    folder: Path, fill: Callable[[EmbeddedPostgres], None]
) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """Yield a filled primary and its standby, which has replayed all of it."""
    password = secrets.token_hex(16)
    settings = {"fsync": "off", "wal_level": "replica"}
    with EmbeddedPostgres(folder / "primary", password, settings=settings) as primary:
        fill(primary)
    standby_folder = folder / "standby"
    make_passable_directory(standby_folder, server_account())
    # cp keeps the owner, whom the server has to be.
    subprocess.run(["cp", "-a", primary.data_dir, standby_folder / "data"], check=True)
    (standby_folder / "data" / "standby.signal").touch()
    with EmbeddedPostgres(folder / "primary", password, settings=settings) as primary:
        source = f"host=127.0.0.1 port={primary.port} user={SUPERUSER} password={password}"
        settings = {**settings, "hot_standby": "on", "primary_conninfo": source}
        with EmbeddedPostgres(standby_folder, password, settings=settings) as standby:
            connected = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')"
            eventually(lambda: ask(primary.url(), connected)[0][0], 30, "a streaming standby")
            yield primary, standby
