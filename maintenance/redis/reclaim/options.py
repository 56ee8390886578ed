"""What a reclaim of memory is asked for with."""

from dataclasses import dataclass
from typing import Literal

from maintenance.core.options import DryRunOption

Part = Literal["encodings", "trial", "repack", "abandoned", "time_outs"]


@dataclass(frozen=True, slots=True)
class ReclaimOptions(DryRunOption):
    """``parts`` are what is done: encodings, trial, repack, abandoned, time_outs, in this order.

    ``encodings`` looks for values just over the limits of the compact encodings and recommends
    limits; it writes nothing. ``trial`` measures the recommended limits on copies of a few values
    under temporary names. ``repack`` writes values anew that fit the limits in force but are not
    compact. ``abandoned`` removes keys by the target's rule, ``time_outs`` gives keys a time to live
    by it. ``sample_keys`` is how many keys the look at the encodings draws.
    """

    parts: tuple[Part, ...] = ("encodings",)
    sample_keys: int = 2000
