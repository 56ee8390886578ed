"""What a look at memory is asked for with."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from maintenance.redis.key_sample import MOST_KEYS


@dataclass(frozen=True, slots=True)
class MemoryCheckOptions:
    """``sample_keys`` is how many keys are looked at, 200,000 at most; a smaller database is looked at as
    a whole.
    """

    sample_keys: Annotated[int, Field(ge=1, le=MOST_KEYS)] = 2000
