"""The plain site's Celery application; ``PLAINSITE_WATCHED`` adds the one line that watches it."""

import os
from pathlib import Path
from time import sleep
from typing import Any

from celery import Celery, Task

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


@app.task(name="plainsite.retry", bind=True)
def retry(self: "Task[Any, Any]", path: str, *, times: int) -> None:
    """Append to a file how many retries were before, and be tried again in a second, so many times."""
    retries = self.request.retries or 0
    with Path(path).open("a") as file:
        file.write(f"{retries}\n")
    if retries < times:
        raise self.retry(countdown=1)
