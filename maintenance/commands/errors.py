"""What an error means for the person at the terminal."""

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, router
from django.utils.connection import ConnectionDoesNotExist

from maintenance.core.errors import MaintenanceError
from maintenance.core.redaction import redact
from maintenance.core.runs.ledger_database import ledger_alias, ledger_connection, sqlstate_of
from maintenance.models import Run

_UNDEFINED_TABLE = "42P01"


def explained(error: BaseException) -> str | None:
    """Return one sentence for an error that can be expected, ``None`` for a defect."""
    if isinstance(error, MaintenanceError):
        return redact(str(error))
    if isinstance(error, DatabaseError | InterfaceError):
        return _ledger_sentence(error)
    if isinstance(error, OSError):
        return redact(f"{error.strerror or type(error).__name__}: {error.filename or error}.")
    return None


def sentence_of(error: BaseException) -> str:
    """Return what an error means, or its own words in one line, without passwords."""
    return explained(error) or redact(" ".join(str(error).split()))


def _ledger_sentence(error: DatabaseError | InterfaceError) -> str | None:
    if sqlstate_of(error) == _UNDEFINED_TABLE:
        return (
            f"The ledger at {_ledger_address()} has no tables yet. {_way_to_tables(ledger_alias())}"
        )
    if isinstance(error, OperationalError | InterfaceError):
        reason = redact(" ".join(str(error).split())).rstrip(".")
        return (
            f"The ledger at {_ledger_address()} cannot be used: {reason}."
            " Check that the server runs and that DATABASES names it rightly."
        )
    return None


def _way_to_tables(alias: str) -> str:
    if not router.allow_migrate_model(alias, Run):
        return (
            "DATABASE_ROUTERS lead it there and have none made there: allow_migrate has to be true for"
            " maintenance and django_celery_beat. Then run: python manage.py migrate --database "
            + alias
        )
    option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
    return f"Create them with: python manage.py migrate{option}"


def _ledger_address() -> str:
    try:
        settings = ledger_connection().settings_dict
    except ConnectionDoesNotExist:
        return "an unknown address"
    host = settings.get("HOST") or "the local socket"
    port = f":{settings['PORT']}" if settings.get("PORT") else ""
    return f"{host}{port}/{settings.get('NAME', '')}"
