"""How long the certificate of a server is valid, whoever checks it."""

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from maintenance.core.errors import ConfigurationError
from maintenance.postgres.connection import parameters_of_dsn

#: Certificates of Let's Encrypt are renewed 30 days before their end: with 14 left that has failed.
SOON_SECONDS = 14 * 86_400.0

_POSTGRES_SSL_REQUEST = struct.pack("!II", 8, 80_877_103)  # PostgreSQL: Message Formats, SSLRequest
_SEQUENCE, _CONTEXT_0, _UTC_TIME = 0x30, 0xA0, 0x17


@dataclass(frozen=True, slots=True)
class Validity:
    """Since and until when a certificate is valid, in seconds since the epoch."""

    since_epoch_seconds: float
    until_epoch_seconds: float

    @property
    def until(self) -> str:
        """The last day, as it is said."""
        return f"{datetime.fromtimestamp(self.until_epoch_seconds, UTC):%Y-%m-%d}"

    def left_seconds(self, now: float | None = None) -> float:
        """How long it is valid still; negative for one that has expired."""
        return self.until_epoch_seconds - (time.time() if now is None else now)


def certificate_of_postgres(parameters: dict[str, Any], timeout_seconds: float) -> Validity | None:
    """Ask a PostgreSQL server for its certificate; ``None`` where it has none or says nothing."""
    try:
        given = {**parameters, **parameters_of_dsn(parameters.get("dsn") or "")}
    except ConfigurationError:
        return None  # told by whoever connects
    host = str(given.get("host") or "")
    if not host or host.startswith("/") or given.get("sslmode") == "disable":
        return None
    try:
        with socket.create_connection(
            (host, int(given.get("port") or 5432)), timeout_seconds
        ) as plain:
            plain.sendall(_POSTGRES_SSL_REQUEST)
            return _handshake(plain, host) if plain.recv(1) == b"S" else None
    except (OSError, ValueError):
        return None


def certificate_of_redis(url: str, timeout_seconds: float) -> Validity | None:
    """Ask a Redis server for its certificate; ``None`` without TLS, or where it says nothing."""
    if not url.startswith("rediss:"):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or "localhost"
        with socket.create_connection((host, parts.port or 6379), timeout_seconds) as plain:
            return _handshake(plain, host)
    except (OSError, ValueError):
        return None


def _handshake(plain: socket.socket, host: str) -> Validity | None:
    # Whether to trust it is decided where work is done: here an expired one is to be read as well.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(plain, server_hostname=host) as wrapped:
        found = wrapped.getpeercert(binary_form=True)
    return validity_of(found) if found else None


def validity_of(der: bytes) -> Validity:
    """Read the validity out of a certificate (RFC 5280, 4.1: fields in a fixed order).

    The standard library reads it only of certificates that it trusts. Raises ``ValueError`` for what
    is no certificate.
    """
    _tag, certificate, _rest = _element(der)
    _tag, fields, _rest = _element(certificate)
    tag, _content, rest = _element(fields)
    if tag == _CONTEXT_0:  # the version, which may be left out; then the serial number
        _tag, _content, rest = _element(rest)
    for _name in ("signature", "issuer"):
        _tag, _content, rest = _element(rest)
    tag, validity, _rest = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("no certificate: there is no validity in it")
    tag, since, rest = _element(validity)
    until_tag, until, _rest = _element(rest)
    return Validity(_moment(tag, since), _moment(until_tag, until))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows of the first element (X.690, 8.1)."""
    if len(data) < 2:
        raise ValueError("no certificate: it ends too early")
    length, at = data[1], 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    if len(data) < at + length:
        raise ValueError("no certificate: it ends too early")
    return data[0], data[at : at + length], data[at + length :]


def _moment(tag: int, text: bytes) -> float:
    # UTCTime has two digits of the year, of 1950 to 2049; later ones are GeneralizedTime.
    written = text.decode("ascii")
    if tag == _UTC_TIME:
        written = ("19" if written[:2] >= "50" else "20") + written
    return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
