"""The application of the site under fire."""

from importlib import import_module

from django.apps import AppConfig

from faults.site import times


class SiteConfig(AppConfig):
    """Scales the times of the engine, then brings the Celery application and its tasks."""

    name = "faults.site"
    label = "faults"

    def ready(self) -> None:
        """Import what registers itself."""
        times.scale()
        import_module("faults.site.celery")
        import_module("faults.site.tasks")
        import_module("faults.site.plain_tasks")
