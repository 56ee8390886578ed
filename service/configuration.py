"""The service's configuration file: ``maintenance.toml``, or a default that looks after itself."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maintenance.conf.toml_file import read_file
from maintenance.core.errors import ConfigurationError

QUEUES = ["high", "medium", "low"]


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the ``MAINTENANCE`` mapping.

    With no file, the service looks after its own database and queues; and, where the variables
    SITE_DATABASE_URL and SITE_REDIS_URL are set, after a site's. Who is told is named by the variables
    MAINTENANCE_RECIPIENTS, several with commas, and OPS_CHAT_URL; links lead to MAINTENANCE_BASE_URL. Raises ``ConfigurationError``
    with line and column for a file that is not TOML.
    """
    if path is None:
        return _default(environment)
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"The configuration file {path} cannot be read: {error.strerror}."
            " Create it (maintenance.example.toml shows how), or unset MAINTENANCE_CONFIG."
        ) from None
    except ValueError as error:  # of the text, of TOML, or of a number with too many digits
        raise ConfigurationError(
            f"The configuration file {path} is not TOML: {error}."
            " `python manage.py maintenance doctor` shows every fault of it, and what to do."
        ) from None


def load_readable(path: Path | None) -> dict[str, Any]:
    """Return what of the file can be read: for the doctor, which tells the faults of the rest."""
    return load(None) if path is None else dict(read_file(path).mapping)


def _default(environment: Mapping[str, str]) -> dict[str, Any]:
    mapping: dict[str, Any] = {
        "databases": {"own": {"alias": "default"}},
        "redis": {},
        "brokers": {},
        "caches": {},
    }
    if environment.get("CELERY_BROKER_URL", "").startswith("amqp"):
        mapping["brokers"]["own"] = {"url": "env:CELERY_BROKER_URL", "queues": QUEUES}
    elif environment.get("REDIS_URL"):
        mapping["redis"]["own"] = {"url": "env:REDIS_URL", "role": "broker"}
        mapping["brokers"]["own"] = {
            "url": "env:REDIS_URL",
            "queues": QUEUES,
            "key_prefix": "maintenance:",
        }
    if environment.get("SITE_DATABASE_URL"):
        mapping["databases"]["site"] = {"url": "env:SITE_DATABASE_URL"}
    if environment.get("SITE_REDIS_URL"):
        mapping["redis"]["site"] = {"url": "env:SITE_REDIS_URL"}
        mapping["caches"]["site"] = {"url": "env:SITE_REDIS_URL"}
    mapping["notifications"] = _notifications(environment)
    return mapping


def _notifications(environment: Mapping[str, str]) -> dict[str, Any]:
    named = environment.get("MAINTENANCE_RECIPIENTS", "").split(",")
    told: dict[str, Any] = {
        "recipients": [address.strip() for address in named if address.strip()],
        "base_url": environment.get("MAINTENANCE_BASE_URL", ""),
    }
    if environment.get("OPS_CHAT_URL"):
        told["apprise"] = {"chat": "env:OPS_CHAT_URL"}
    return told
