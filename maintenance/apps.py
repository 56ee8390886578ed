"""The Django application."""

import sys
from importlib import import_module

from django.apps import AppConfig
from django.core.signals import setting_changed
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from maintenance.caching.signals import connect_waiting
from maintenance.conf import configuration
from maintenance.core.command_lines import is_doctor
from maintenance.core.errors import ConfigurationError
from maintenance.core.runs.alive_file import watch_worker


class MaintenanceConfig(AppConfig):
    """Registers tasks, checks and the hooks of other applications."""

    name = "maintenance"
    verbose_name = _("Maintenance")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import what registers itself: tasks, system checks, and hook modules."""
        import_module("maintenance.checks")
        import_module("maintenance.tasks")
        # An application registers its warmers in a module of this name, as Django's admin has it.
        autodiscover_modules("maintenance_hooks")
        self._import_configured_hooks()
        self._profile_tasks()
        watch_worker()
        # Models of every application are loaded now: their children and proxies are known.
        connect_waiting()
        setting_changed.connect(_forget_configuration, dispatch_uid="maintenance.configuration")

    @staticmethod
    def _profile_tasks() -> None:
        # Imported late: what it needs of Django is there only now.
        from maintenance.tasks.query_profiling import profile_tasks  # noqa: PLC0415

        profile_tasks()

    @staticmethod
    def _import_configured_hooks() -> None:
        try:
            modules = configuration().hook_modules
        except ConfigurationError:
            return  # the system check maintenance.E001 reports it, with every other fault
        if is_doctor(sys.argv):
            return  # which imports them itself, and shows each that fails
        for module in modules:
            try:
                import_module(module)
            except ImportError as error:
                raise ConfigurationError(
                    f'hook_modules: "{module}" cannot be imported: {error}. Correct its name, or put its'
                    " folder on PYTHONPATH."
                ) from error


def _forget_configuration(*, setting: str, **_kwargs: object) -> None:
    if setting == "MAINTENANCE":
        configuration.cache_clear()
