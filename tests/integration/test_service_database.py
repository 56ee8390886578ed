"""What the service makes of DATABASE_URL, on a real server."""

from collections.abc import Callable
from pathlib import Path

from tests.up_process import manage

CONNECT = (
    "from django.db import connection as c; c.ensure_connection(); print(c.connection.info.port)"
)


def test_of_several_hosts_the_first_that_answers_is_taken(
    make_database: Callable[[], str], tmp_path: Path
) -> None:
    login, _, place = make_database().rpartition("@")
    host, _, name = place.partition("/")

    result = manage(
        *("shell", "--command", CONNECT),
        state=tmp_path,
        DATABASE_URL=f"{login}@127.0.0.1:1,{host}/{name}",
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == host.partition(":")[2]
