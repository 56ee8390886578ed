"""What serves one site: the servers and files whose configuration is reviewed together."""

from typing import Self

from pydantic import Field, model_validator

from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Section

#: In place of a file with Celery's settings: those of the project that this runs in.
OWN = "own"


class DeploymentTarget(Section):
    """The programs that serve one site, as far as they can be looked at.

    ``database`` and ``redis`` name targets of those sections. ``nginx`` (its main file, includes are
    followed), ``gunicorn`` (its configuration file) and ``celery`` (the Python file with its
    settings, or ``"own"`` for this project's) lie on the worker's machine, ``"env:NAME"`` reads the
    path from the environment; Python is read and never run. ``gunicorn_process`` and ``celery_process`` are texts that stand in the command lines of
    running ones on that machine, such as the name of the application.

    Memory and processors are those of the machine that Gunicorn and Celery run on; they are read
    from this one unless given. ``session_cookie`` is by what the site knows who is logged in.
    """

    database: str = ""
    redis: tuple[str, ...] = ()
    nginx: str = ""
    gunicorn: str = ""
    gunicorn_process: str = ""
    celery: str = ""
    celery_process: str = ""
    session_cookie: str = "sessionid"
    memory_bytes: int | None = Field(default=None, gt=0)
    cpu_count: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        named = ("database", "redis", "nginx", "gunicorn", "celery")
        processes = ("gunicorn_process", "celery_process")
        if not any(getattr(self, name) for name in (*named, *processes)):
            raise ValueError(f"give at least one of {', '.join(named)}")
        for name in ("nginx", "gunicorn", "celery"):
            path = getattr(self, name)
            may_be = path.startswith(("/", "env:")) or (name, path) == ("celery", OWN)
            if path and not may_be:
                raise ValueError(f'"{name}" must be an absolute path')
        return self

    def file(self, name: str) -> str:
        """Return the path of ``nginx``, ``gunicorn`` or ``celery``. Raises ``ConfigurationError``."""
        return resolve_secret(getattr(self, name))
