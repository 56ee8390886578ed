"""The embedding project's application."""

from importlib import import_module

from django.apps import AppConfig


class TestappConfig(AppConfig):
    """Makes the project's Celery application the current one in every process."""

    name = "tests.testapp"

    def ready(self) -> None:
        """Import the Celery application."""
        import_module("tests.testapp.celery")
