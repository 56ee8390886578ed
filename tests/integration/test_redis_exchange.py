"""Borrowing a connection for batches of packed commands."""

import pytest
import redis

from maintenance.redis_client.packed import exchange, pack


def break_off(client: redis.Redis) -> None:
    """Leave a reply unread that comes when the connection has been given back."""
    with exchange(client) as wire:
        wire.send([pack(b"BLPOP", b"absent", b"0.2")])
        raise ZeroDivisionError


def test_a_reply_that_nobody_read_answers_nobody_else(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        with pytest.raises(ZeroDivisionError):
            break_off(client)
        assert client.echo("mine") == b"mine"
