"""The Celery application of the site under fire."""

import os
from typing import Any

from celery import Celery
from celery.signals import task_postrun, worker_init
from django.conf import settings

from maintenance.core.frozen_heap import collect_after_a_task, freeze_heap
from maintenance.core.runs.watched_tasks import watch_tasks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "faults.site.settings")

app = Celery("faults")
app.conf.update(settings.CELERY)  # type: ignore[misc]  # the plugin knows the service's
app.set_default()
watch_tasks(app)  # Celery's own daily task is counted as all others are
task_postrun.connect(collect_after_a_task)  # as in the service (service/celery.py)


@worker_init.connect
def let_children_share_memory(**_details: Any) -> None:
    """Leave what there is alone in each collection, as the service's workers do (service/celery.py)."""
    freeze_heap()
