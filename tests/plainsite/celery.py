"""The plain site's Celery application; ``PLAINSITE_WATCHED`` adds the one line that watches it."""

import os
from pathlib import Path
from time import sleep

from celery import Celery

from maintenance.core.runs.watched_tasks import watch_tasks

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.plainsite.settings"

app = Celery("plainsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
if os.environ.get("PLAINSITE_WATCHED"):
    watch_tasks(app)


@app.task(name="plainsite.append")
def append(path: str, word: str, *, gate: str = "", fails: bool = False) -> str:
    """Append a word to a file, when the gate is open."""
    with Path(path).open("a") as file:
        file.write(f"{word}\n")
    while gate and not Path(gate).exists():
        sleep(0.05)
    if fails:
        raise ValueError(f"{word} is secret")
    return word
