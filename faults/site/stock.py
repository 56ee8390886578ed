"""What is needed to count the losses of stock beat, which knows no slots: each dispatch gets a number.

Before django-celery-beat's scheduler dispatches a row, the due time that it dispatches for is noted on
the target and put into the message's headers. Nothing else of it is changed.
"""

import os
from typing import Any

import psycopg2

INTENTS = """
CREATE TABLE intents (
    slot text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


def number_dispatches() -> None:
    """Note each dispatch of this process."""
    from django_celery_beat.schedulers import DatabaseScheduler

    dispatch = DatabaseScheduler.apply_async

    def noted(self: Any, entry: Any, *args: Any, **kwargs: Any) -> Any:
        if entry.task == "faults.plain_mark":
            due_at = entry.last_run_at + entry.schedule.run_every
            slot = f"{entry.name} {due_at.isoformat(timespec='milliseconds')}"
            _note(slot)
            entry.options["headers"] = {"slot": slot}
        return dispatch(self, entry, *args, **kwargs)

    DatabaseScheduler.apply_async = noted


def _note(slot: str) -> None:
    conn = psycopg2.connect(os.environ["FAULTS_TARGET_URL"])
    try:
        with conn, conn.cursor() as cursor:
            cursor.execute("INSERT INTO intents (slot) VALUES (%s)", [slot])
    finally:
        conn.close()
