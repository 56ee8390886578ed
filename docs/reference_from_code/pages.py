"""All pages of the reference, and how they become files for Sphinx."""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.reference_from_code.celery_settings import celery_page
from docs.reference_from_code.commands import commands_page
from docs.reference_from_code.events import events_page
from docs.reference_from_code.findings import findings_page
from docs.reference_from_code.metrics import metrics_page
from docs.reference_from_code.schedules import schedules_page
from docs.reference_from_code.settings import settings_page
from docs.reference_from_code.tasks import tasks_page

PAGES: Mapping[str, Callable[[], str]] = {
    "settings": settings_page,
    "tasks": tasks_page,
    "schedules": schedules_page,
    "findings": findings_page,
    "metrics": metrics_page,
    "events": events_page,
    "commands": commands_page,
    "celery": celery_page,
}


def write(folder: Path) -> None:
    """Write every page that is not there as it should be; Django must be set up."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        path, text = folder / f"{name}.md", make()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
