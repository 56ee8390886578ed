"""What the servers' addresses do to the environment, to this process and to its children."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Mapping
from importlib import import_module

from django.conf import settings
from django.db import connections

from service.up.output import Output, OutputHandler


def adopt(values: Mapping[str, str]) -> None:
    """Put ``values`` into the environment and make this process's Django see them.

    Django reads its settings once, before any command runs; the addresses of servers that ``up``
    itself starts exist only after that. Everything in ``service.settings`` comes from the
    environment, so reading it again is enough. Raises ``ConfigurationError`` where the
    configuration file that the environment now names cannot be read.
    """
    os.environ.update(values)
    module = importlib.reload(sys.modules["service.settings"])
    name = os.environ.get("DJANGO_SETTINGS_MODULE", "service.settings")
    if name != "service.settings":
        module = importlib.reload(sys.modules[name])
    for setting in filter(str.isupper, dir(module)):
        setattr(settings, setting, getattr(module, setting))
    _forget_what_was_derived()


def _forget_what_was_derived() -> None:
    from maintenance.conf import configuration  # noqa: PLC0415 - after the settings
    from service.celery import configure_anew  # noqa: PLC0415 - likewise

    configuration.cache_clear()
    configure_anew()
    connections.settings = connections.configure_settings(settings.DATABASES)
    with contextlib.suppress(AttributeError):  # no connection was made yet
        del connections["default"]


def import_hooks() -> None:
    """Import the configuration's hook modules, which register warmers, as a worker does."""
    from maintenance.conf import configuration  # noqa: PLC0415 - after the settings

    for module in configuration().hook_modules:
        import_module(module)


def log_to(output: Output) -> None:
    """Send this process's log records to the terminal as lines of ``up``."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = OutputHandler(output)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(handler)
