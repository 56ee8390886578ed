"""Where the primary of a target is, by the word of its sentinels."""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis

from maintenance.core.errors import TargetUnavailable
from maintenance.core.redaction import address_of, redact

#: A sentinel that does not answer by then is passed over for the next one.
SENTINEL_TIMEOUT_SECONDS = 3.0


def primary_url(target: Any) -> str:
    """Return the URL of the server to work on: that of the target, or of its primary at the moment.

    Where a target names ``sentinels``, they say host and port; user, password and database remain
    those of its own URL. Raises :class:`TargetUnavailable` where none of them knows a primary, and
    ``ConfigurationError`` for a secret that is missing.
    """
    url: str = target.resolved_url()
    sentinels: tuple[str, ...] = getattr(target, "sentinels", ())
    if not sentinels:
        return url
    answers: list[str] = []
    for sentinel in target.resolved_sentinels():
        try:
            found = _ask(sentinel, target.sentinel_name)
        except ValueError:
            answers.append(
                f"{address_of(sentinel)} is not the URL of a sentinel: write redis://:password@host:26379,"
                " with special characters of the password quoted"
            )
            continue
        except redis.RedisError as error:
            answers.append(f"{address_of(sentinel)}: {redact(str(error)).rstrip('. ')}")
            continue
        if found:
            return with_address(url, found[0].decode(), int(found[1]))
        answers.append(f'{address_of(sentinel)} knows no "{target.sentinel_name}"')
    raise TargetUnavailable(
        f"No sentinel names the primary ({'; '.join(answers)})."
        " Check sentinels and sentinel_name of this target."
    )


def with_address(url: str, host: str, port: int) -> str:
    """Return ``url`` with another host and port; its credentials and path remain."""
    parts = urlsplit(url)
    credentials, separator, _ = parts.netloc.rpartition("@")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return urlunsplit(parts._replace(netloc=f"{credentials}{separator}{address}"))


def _ask(sentinel: str, name: str) -> list[bytes] | None:
    client = redis.Redis.from_url(
        # As Celery writes it in the URL of a broker.
        re.sub(r"\Asentinel://", "redis://", sentinel),
        protocol=2,
        socket_timeout=SENTINEL_TIMEOUT_SECONDS,
        socket_connect_timeout=SENTINEL_TIMEOUT_SECONDS,
    )
    with client:
        answer: list[bytes] | None = client.execute_command(  # type: ignore[no-untyped-call]
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name
        )
    return answer
