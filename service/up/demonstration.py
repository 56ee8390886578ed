"""What keeps a demonstration apart from the operator's own service: its servers, its folder, its schedules."""

from collections.abc import MutableMapping
from pathlib import Path

from maintenance.conf import Configuration
from maintenance.core.runs.registry import task_named
from maintenance.models import SyncedSchedule
from maintenance.schedules import CHECKLISTS
from service.embedded.account import make_passable_directory, server_account
from service.embedded.state import STATE_SETTING, StateFolder
from service.secret_files import OF_SERVERS
from service.secret_files import SUFFIX as FILE_SUFFIX
from service.up.errors import UpRefused
from service.up.servers import SITE_FOLDER

SUFFIX = "-demo"
_WAYS_OUT = f"Leave --state out, unset {STATE_SETTING}, or name a folder that is for the demonstration alone."


def folder_beside(path: Path) -> Path:
    """Return the demonstration's own state folder beside the service's."""
    return path if path.name.endswith(SUFFIX) else path.with_name(path.name + SUFFIX)


def forget_named_servers(environment: MutableMapping[str, str]) -> list[str]:
    """Take what names a server of the operator's out of ``environment``; return the names that had a value.

    Also by a file: a demonstration brings all of them.
    """
    names = [name + suffix for name in OF_SERVERS for suffix in ("", FILE_SUFFIX)]
    return [name for name in names if environment.pop(name, "")]


def claim_folder(state: StateFolder) -> None:
    """Mark the folder as a demonstration's, before anything else is made there.

    Raises :class:`UpRefused` where a service that is no demonstration has its ledger in it.
    """
    mark = state.valkey(SITE_FOLDER)
    if (state.postgres / "data").exists() and not mark.exists():
        raise UpRefused(
            f"{state.path} holds the ledger of a service that is no demonstration, and the sample"
            f" site's invented history does not belong there. {_WAYS_OUT}"
        )
    make_passable_directory(mark, server_account())


def refuse_other_schedules(configuration: Configuration) -> None:
    """Raise :class:`UpRefused` where the ledger has schedules at work for targets that are not the sample site's."""
    wanted = {
        target
        for schedules in CHECKLISTS.values()
        for schedule in schedules
        for target in task_named(schedule.task).target_names(configuration)
    }
    at_work = SyncedSchedule.objects.filter(definition__enabled=True)
    targets = at_work.values_list("definition__kwargs__target", flat=True)
    others = sorted(set(filter(None, targets)) - wanted)
    if others:
        raise UpRefused(
            f"The ledger of this state folder has schedules of another service ({', '.join(others)}),"
            f" which the sample site's would switch off. {_WAYS_OUT}"
        )
