"""What a removal of abandoned streams is asked for with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemoveStreamsOptions:
    """``families`` limits the run to some of the target's; ``exceptions`` are ids that stay."""

    dry_run: bool = False
    families: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
