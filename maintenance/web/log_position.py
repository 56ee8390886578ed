"""How far each file of a log was read, so that every line is read once, across rotations.

A file is known by its content and not by its name: by hashes of its beginning, and of what stands
right before the place up to which it was read. So a renamed file, a copy (copytruncate) and its
compressed form are read on, while a new file under an old name, or on a freed inode, is read from
its start. Nothing of the log itself is kept.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

from maintenance.web.log_files import DAMAGED, FoundFile

#: Beginnings that are hashed: the longest that is there decides. One line has its time in it.
HEAD_LENGTHS = (64, 1024)
TAIL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Position:
    """Up to ``offset`` of the (uncompressed) content everything was read.

    ``heads`` are hashes by length, ``tail`` is that of the last bytes before ``offset``.
    """

    path: str
    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    offset: int
    heads: Mapping[str, str]
    tail: str

    def is_unchanged(self, file: FoundFile) -> bool:
        """Whether nothing was written since, and the name's the only thing that may be new."""
        return (self.device, self.inode, self.size_bytes, self.modified_ns) == (
            *file.identity,
            file.size_bytes,
            file.modified_ns,
        )

    def moved_to(self, file: FoundFile) -> "Position":
        """Return the same place in the same content, in another file."""
        return Position(
            file.path, *file.identity, file.size_bytes, file.modified_ns,
            self.offset, self.heads, self.tail,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(slots=True)
class Consumed:
    """What was read of a content so far, as far as knowing it again needs it."""

    offset: int = 0
    head: bytes = b""
    tail: bytes = b""

    def take(self, content: bytes | memoryview) -> None:
        """Note that so much more was read."""
        if len(self.head) < HEAD_LENGTHS[-1]:
            self.head += bytes(content[: HEAD_LENGTHS[-1] - len(self.head)])
        self.tail = (self.tail + bytes(content[-TAIL_BYTES:]))[-TAIL_BYTES:]
        self.offset += len(content)

    def position(self, file: FoundFile) -> Position:
        """Return the place to read on from."""
        lengths = {min(length, len(self.head)) for length in HEAD_LENGTHS}
        return Position(
            file.path, *file.identity, file.size_bytes, file.modified_ns, self.offset,
            {str(length): _hash(self.head[:length]) for length in sorted(lengths)},
            _hash(self.tail),
        )  # fmt: skip


def begins_alike(position: Position, head: bytes) -> bool:
    """Tell whether a content that begins with ``head`` may be the same, as far as both reach."""
    fitting = [int(length) for length in position.heads if int(length) <= len(head)]
    return bool(fitting) and position.heads[str(max(fitting))] == _hash(head[: max(fitting)])


def skipped_to(position: Position, stream: IO[bytes]) -> Consumed | None:
    """Read ``stream`` up to ``position``; ``None`` where it is another content, or a shorter one.

    Plain files are skipped without being read; of compressed ones all up to there is.
    """
    consumed = Consumed()
    try:
        head = stream.read(min(HEAD_LENGTHS[-1], position.offset))
        if len(head) < min(HEAD_LENGTHS[-1], position.offset) or not begins_alike(position, head):
            return None
        stream.seek(max(0, position.offset - TAIL_BYTES))
        tail = stream.read(min(TAIL_BYTES, position.offset))
    except DAMAGED:
        return None
    if len(tail) < min(TAIL_BYTES, position.offset) or _hash(tail) != position.tail:
        return None
    consumed.offset, consumed.head, consumed.tail = position.offset, head, tail
    return consumed


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
