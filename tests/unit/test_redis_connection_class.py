"""Which connection a URL gets where ours is given, which redis-py takes in the place of the URL's own."""

import pytest
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from maintenance.redis_client.connection import connection_class_of


@pytest.mark.parametrize(
    ("url", "speaks", "has_tls"),
    [
        ("redis://h:6379/1", Connection, False),
        ("rediss://:secret@h:6379/1", SSLConnection, True),
        ("REDISS://:secret@h:6379/1", SSLConnection, True),
        ("unix:///run/redis.sock?db=1", UnixDomainSocketConnection, False),
    ],
)
def test_tls_and_sockets_are_the_urls_own(url: str, speaks: type[object], has_tls: bool) -> None:
    found = connection_class_of(url)
    assert issubclass(found, speaks)
    assert issubclass(found, SSLConnection) == has_tls
    assert hasattr(found, "read_replies"), "and reads whole batches of replies"
