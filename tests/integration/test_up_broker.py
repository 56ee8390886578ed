"""`up` on a broker that REDIS_URL names."""

import secrets
from pathlib import Path

import pytest

from service.embedded.valkey import EmbeddedValkey
from service.up.errors import UpRefused
from service.up.servers import refuse_unusable_broker
from tests.signing_keys import sign_for_oneself
from tests.up_process import UpProcess


@pytest.mark.parametrize(
    "url",
    [
        "redis://:Geheim/w@h:6379/0",
        "redis://:Geheim?w@h:6379/0",
        "redis://:Geheim@[::1/0",
        "redis://:p@h:Geheim/0",
        "redis://:Geheim@127.0.0.1:1/0?no_such_word=1",
        "http://:Geheim@h/0",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_with_nothing_of_it(url: str) -> None:
    with pytest.raises(UpRefused, match="REDIS_URL cannot be read") as refusal:
        refuse_unusable_broker(url)
    assert "Geheim" not in str(refusal.value)


def test_a_socket_that_celery_cannot_read_is_refused() -> None:
    with pytest.raises(UpRefused, match=r"Write it as redis\+socket:///path"):
        refuse_unusable_broker("unix:///run/redis.sock")


def test_checklists_run_over_a_socket_that_celery_reads(server_root: Path) -> None:
    password = secrets.token_hex(16)
    folder = server_root / "socket-valkey"
    socket = folder / "data" / "valkey.sock"
    settings = {"unixsocket": str(socket), "unixsocketperm": "700"}
    with EmbeddedValkey(folder, password, settings=settings):
        url = f"redis+socket://:{password}@{socket}?virtual_host=0"
        with UpProcess(server_root / "socket", "--once", "quarterly", REDIS_URL=url) as up:
            assert up.wait(120) == 0, up.output
        assert password not in up.output
    assert not (server_root / "socket" / "valkey-broker").exists()


def test_signed_messages_reach_the_broker_that_it_starts(server_root: Path) -> None:
    variables = sign_for_oneself(server_root / "keys")
    with UpProcess(server_root / "signed", "--once", "quarterly", **variables) as up:
        assert up.wait(120) == 0, up.output
