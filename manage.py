#!/usr/bin/env python
"""Django's command line for the stand-alone service."""

import os
import sys

from django.core.management import execute_from_command_line

from maintenance.core.errors import ConfigurationError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "service.settings")
    try:
        execute_from_command_line(sys.argv)
    except ConfigurationError as error:  # the settings could not be read, so no command began
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
