"""What the person who types ``manage.py up`` decides."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_WEB_PORT = 8000
DEFAULT_FLOWER_PORT = 5555


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The command line, checked. Port 0 stands for any free port.

    ``checklists`` is empty for the service that runs until it is stopped; otherwise these are run
    once, in this order. ``sample_scale`` is ``None`` without a sample site.
    """

    state: Path | None = None
    checklists: tuple[str, ...] = ()
    with_web: bool = True
    web_port: int = DEFAULT_WEB_PORT
    flower_port: int = DEFAULT_FLOWER_PORT
    sample_scale: float | None = None

    @property
    def is_once(self) -> bool:
        """Whether to end when the named checklists have run."""
        return bool(self.checklists)

    @property
    def has_sample_site(self) -> bool:
        """Whether the library site is built and looked after."""
        return self.sample_scale is not None
