"""What has to be in order before the first process of ours starts."""

import os
from collections.abc import Mapping
from pathlib import Path

import psycopg2.errors
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.management import call_command
from django.db import connection

from maintenance.conf import configuration
from maintenance.core.redaction import redact
from maintenance.core.runs.dispatch import mend
from maintenance.core.scheduling.schedule_sync import SyncResult, sync_schedules
from maintenance.models import Run, RunState
from service.embedded.state import StateFolder
from service.up.errors import UpRefused

ADMIN_USER = "admin"
RUN_LOG_NAME = "runs.jsonl"


def runtime_values(
    state: StateFolder, addresses: Mapping[str, str], flower_port: int | None
) -> dict[str, str]:
    """Return the variables for our programs, and for commands in a second terminal."""
    logs = state.path / "logs"
    for folder in (logs, state.path / "static"):  # whitenoise warns of a missing static folder
        folder.mkdir(mode=0o700, exist_ok=True)
    values = {
        "MAINTENANCE_STATE": str(state.path),
        "MAINTENANCE_RUN_LOG": os.environ.get("MAINTENANCE_RUN_LOG") or str(logs / RUN_LOG_NAME),
        "DJANGO_SECRET_KEY": os.environ.get("DJANGO_SECRET_KEY") or state.secrets.django_secret_key,
        **addresses,
    }
    if "MAINTENANCE_CONFIG" in os.environ:
        values["MAINTENANCE_CONFIG"] = os.environ["MAINTENANCE_CONFIG"]
    if flower_port is not None:
        values["FLOWER_URL"] = f"http://127.0.0.1:{flower_port}"
    return values


def refuse_failed_checks() -> None:
    """Raise :class:`UpRefused` with every error that Django's system checks report."""
    errors = [m for m in checks.run_checks() if m.is_serious() and not m.is_silenced()]
    if errors:
        raise UpRefused("The configuration cannot be used:\n" + "\n".join(map(_in_words, errors)))


def _in_words(message: checks.CheckMessage) -> str:
    hint = f" {message.hint}" if message.hint else ""
    return f"  {message.msg}{hint} ({message.id})"


def migrate() -> None:
    """Bring the ledger's tables up to date."""
    call_command("migrate", interactive=False, verbosity=0)


def refusal_of(error: Exception) -> str:
    """Say why the ledger's database could not be prepared, and what to run where a right is missing."""
    reason = redact(" ".join(str(error).split())).rstrip(".")
    said = f"The database of the ledger cannot be prepared: {reason}."
    if not _lacks_a_right(error):
        return f"{said} Correct that, and start again."
    quote, entry = connection.ops.quote_name, connection.settings_dict
    role = quote(entry["USER"]) if entry["USER"] else "its role"
    return (
        f"{said} The service makes its tables there. As the owner of the database run one of these lines:\n"
        f"  ALTER DATABASE {quote(entry['NAME'])} OWNER TO {role};\n"
        f"  GRANT CREATE ON SCHEMA public TO {role};"
    )


def _lacks_a_right(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, psycopg2.errors.InsufficientPrivilege):
        error = error.__cause__ or error.__context__
    return error is not None


def recover_runs() -> int:
    """Give back, at once, the runs that the dead workers of this state folder held.

    Only for a database of our own: we hold the folder's lock, so no worker of it can be alive.
    Elsewhere the leases run out by themselves. Returns the number of runs.
    """
    Run.objects.filter(state=RunState.RUNNING).update(heartbeat_at=None)
    return mend()["lost"]


def sync() -> SyncResult:
    """Write the checklists into the schedule tables."""
    return sync_schedules(configuration())


def ensure_admin(password: str) -> bool:
    """Create the superuser ``admin`` where there is none; return whether ``password`` is its own.

    Nobody's password is changed: one that the operator chose stays, and is not ours to print.
    """
    users = get_user_model().objects
    user = users.filter(username=ADMIN_USER).first()
    if user is None:
        users.create_superuser(ADMIN_USER, "", password)
        return True
    return user.check_password(password)


def sample_configuration() -> Path:
    """Return the configuration file that looks after the sample site."""
    from service import sample_site  # noqa: PLC0415 - only where it is asked for

    return Path(sample_site.__file__).with_name("maintenance.toml")
