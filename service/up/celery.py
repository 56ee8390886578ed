"""Celery's worker and beat, without the rest of its command line: ``python -m service.up.celery worker ...``.

The ``celery`` command loads every plug-in that it finds, and an interactive shell: memory in each worker and in
beat for what they never use. The options are Celery's own.
"""

import sys

import click
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

from service.celery import app

_COMMANDS: dict[str, click.Command] = {"worker": worker, "beat": beat}


def main(arguments: list[str]) -> None:
    """Run the command that the first argument names; ends the process as the ``celery`` command does."""
    name, *options = arguments
    context = CLIContext(app=app, no_color=False, workdir=None, quiet=True)
    _COMMANDS[name].main(options, prog_name=f"celery {name}", obj=context)


if __name__ == "__main__":
    main(sys.argv[1:])
