"""What a server's errors mean for an operator."""

import pytest
import redis

from maintenance.conf import RedisTarget
from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.redis_client.connection import connect, describe_key, explain, explained_errors

URL = "redis://bob:hunter2@db.example:6380/3"


@pytest.mark.parametrize(
    ("message", "needs"),
    [
        ("User bob has no permissions to run the 'zcard' command", "+zcard"),
        ("this user has no permissions to run the 'memory|usage' command", "+memory|usage"),
        ("this user has no permissions to run the 'ZCARD' command or its subcommand", "+zcard."),
        (
            "this user has no permissions to run the 'config' command or its subcommand",
            "+config|...",
        ),
        ("No permissions to access a key", "~pattern"),
        ("this user has no permissions to access one of the keys used as arguments", "~pattern"),
    ],
)
def test_a_denied_command_names_the_acl_rule_that_is_missing(message: str, needs: str) -> None:
    explained = explain(redis.exceptions.NoPermissionError(message), URL)
    assert isinstance(explained, MissingRights)
    assert needs in str(explained)


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (redis.ConnectionError("Error 111"), TargetUnavailable, "cannot be reached"),
        (redis.TimeoutError("Timeout"), TargetUnavailable, "did not answer in time"),
        (redis.BusyLoadingError("loading"), TargetUnavailable, "still loading"),
        (redis.ReadOnlyError("READONLY"), TargetUnavailable, "read-only replica"),
        (redis.AuthenticationError("WRONGPASS"), MissingRights, "refused the login"),
        (redis.ResponseError("ERR odd"), TargetUnavailable, "answered with an error: ERR odd"),
    ],
)
def test_each_error_says_what_happened_where_and_never_the_password(
    error: Exception, expected: type[Exception], says: str
) -> None:
    explained = explain(error, URL)
    assert type(explained) is expected
    assert says in str(explained)
    assert "redis://db.example:6380/3" in str(explained)
    assert "hunter2" not in str(explained)


def test_an_error_of_our_own_passes_unchanged() -> None:
    with pytest.raises(redis.WatchError), explained_errors(URL):
        raise redis.WatchError("not the server's fault")


def test_a_url_of_another_kind_of_server_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="not the URL of a Redis server") as caught:
        connect(RedisTarget(url="amqp://bob:hunter2@db.example//"))
    assert "hunter2" not in str(caught.value)


def test_a_key_that_is_no_text_is_shown_with_its_bytes() -> None:
    assert describe_key(b"caf\xc3\xa9-\xff") == "café-\\xff"
