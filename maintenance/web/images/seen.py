"""Which files were looked at already, remembered in a few bytes each. Pure."""

import base64
import hashlib
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable

#: 40 bits: among a million files, one new file in a million is taken for one that was looked at.
_DIGEST_BYTES = 5


def fingerprint(name: str, size_bytes: int, modified_ns: int) -> int:
    """Return a number for a file as it is: another name, size or time gives another one."""
    text = f"{name}\0{size_bytes}\0{modified_ns}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest())


class Fingerprints:
    """A set of fingerprints, 8 bytes each in memory and about 4 in a report's state."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._sorted = array("Q", sorted(set(numbers)))

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._sorted, number)
        return at < len(self._sorted) and self._sorted[at] == number

    def index(self, number: int) -> int | None:
        """Return the place of ``number`` among all, ``None`` where it is not one of them."""
        at = bisect_left(self._sorted, number)
        return at if at < len(self._sorted) and self._sorted[at] == number else None

    def with_more(self, numbers: Iterable[int]) -> "Fingerprints":
        """Return a set of these and others."""
        return Fingerprints([*self._sorted, *numbers])

    def packed(self) -> str:
        """Return the set as text: distances of neighbours, seven bits a byte, compressed."""
        packed = bytearray()
        before = 0
        for number in self._sorted:
            distance, before = number - before, number
            while distance > 0x7F:
                packed.append(distance & 0x7F | 0x80)
                distance >>= 7
            packed.append(distance)
        return base64.urlsafe_b64encode(zlib.compress(bytes(packed))).decode()

    @classmethod
    def unpacked(cls, text: str) -> "Fingerprints":
        """Return the set that :meth:`packed` wrote; an empty one where the text is none of its."""
        try:
            packed = zlib.decompress(base64.urlsafe_b64decode(text))
        except (ValueError, zlib.error):
            return cls()
        numbers = array("Q")
        number = distance = shift = 0
        for byte in packed:
            distance |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                number += distance
                numbers.append(number)
                distance = shift = 0
        return cls(numbers)
