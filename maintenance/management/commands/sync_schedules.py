"""``manage.py sync_schedules``: the checklists into the schedule tables."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from maintenance.conf import configuration
from maintenance.core.errors import ConfigurationError
from maintenance.core.scheduling.schedule_sync import sync_schedules


class Command(BaseCommand):
    """Write one row per schedule and target, leaving alone what an operator changed."""

    help = (
        "Writes the schedules of the four checklists into django-celery-beat's tables. What was"
        " changed in the admin stays as it is, and is shown."
    )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Sync and say what happened."""
        try:
            result = sync_schedules(configuration())
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=2) from None
        names = {
            "created": result.created,
            "updated": result.updated,
            "disabled (no longer configured)": result.disabled,
        }
        for what, rows in names.items():
            for name in rows:
                self.stdout.write(f"{what}: {name}")
        for difference in result.kept:
            self.stdout.write(f"kept as an operator set it: {difference}")
        self.stdout.write(
            f"{len(result.created)} created, {len(result.updated)} updated,"
            f" {len(result.disabled)} disabled, {len(result.unchanged)} unchanged,"
            f" {len(result.kept)} kept"
        )
