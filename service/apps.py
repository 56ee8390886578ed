"""The Django application of the stand-alone service."""

from importlib import import_module

from django.apps import AppConfig


class ServiceConfig(AppConfig):
    """Brings the management commands ``up`` and ``sample_site``."""

    name = "service"
    verbose_name = "Service"

    def ready(self) -> None:
        """Make the service's Celery application the current one, in every process."""
        import_module("service.celery")
        import_module("service.checks")
