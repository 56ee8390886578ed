"""The embedding project's application."""

import os
from importlib import import_module

from django.apps import AppConfig


class TestappConfig(AppConfig):
    """Makes the project's Celery application the current one in every process."""

    name = "tests.testapp"

    def ready(self) -> None:
        """Import the Celery application."""
        import_module("tests.testapp.celery")
        if "TESTAPP_LEASE_SECONDS" in os.environ:
            ledger = import_module("maintenance.core.runs.ledger")
            ledger.LEASE_SECONDS = float(os.environ["TESTAPP_LEASE_SECONDS"])
            ledger.HEARTBEAT_SECONDS = ledger.LEASE_SECONDS / 6
