"""The same work as a plain Celery task, for stock beat to send."""

import time

from celery import Task, shared_task

from faults.site.marks import marks_of
from faults.site.points import reach
from maintenance.conf import configuration


@shared_task(bind=True, name="faults.plain_mark", acks_late=True, ignore_result=True)
def plain_mark(self: "Task[..., None]", target: str, work_seconds: float = 0.2) -> None:
    """Leave one mark on the target, as often as a message says so."""
    slot = (self.request.headers or {})["slot"]
    with marks_of(configuration().databases[target], slot, "plain_mark", target) as marks:
        reach("claimed")
        time.sleep(work_seconds)
        marks.note("effect")
        reach("effect_done")
