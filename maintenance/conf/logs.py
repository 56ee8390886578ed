"""Access logs of web servers as targets."""

from collections.abc import Mapping

from pydantic import Field

from maintenance.conf.values import Section, Timezone


class LogTarget(Section):
    """An access log on the worker's machine.

    ``path`` is the file that the server writes, whose rotated files are found beside it, or a glob
    for all of them; ``"env:NAME"`` reads it from the environment. ``format`` is the server's own (``log_format`` of Nginx, ``LogFormat`` of
    Apache, the text or the whole directive), the name of a common one, or ``"json"``, for which
    ``fields`` says under which keys ``time``, ``path``, ``status``, ``size`` and ``seconds`` stand.
    ``timezone`` is that of times without an offset, and of the report; that of the configuration
    unless given.
    """

    path: str = Field(min_length=1)
    format: str = Field(default="combined", min_length=1)
    fields: Mapping[str, str] = Field(default_factory=dict)
    timezone: Timezone | None = None
    first_run_days: float = Field(default=14, gt=0)  # older rotated files are passed over
