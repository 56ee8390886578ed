"""What a look at memory is asked for with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryCheckOptions:
    """``sample_keys`` is how many keys are looked at; a smaller database is looked at as a whole."""

    sample_keys: int = 2000
