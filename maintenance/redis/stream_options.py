"""What trim_streams can be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrimOptions:
    """``families`` limits the run to some stream families of the target; empty means all."""

    dry_run: bool = False
    families: tuple[str, ...] = ()
