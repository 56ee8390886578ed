"""Which file holds which known content, and which files are left alone.

A content may be in two files for a while: a copy in the making (copytruncate), or a file that is
being compressed. Then it is read from the longest plain one, and the other is left alone until the
next run, which finds what became of it.
"""

from collections.abc import Mapping, Sequence

from maintenance.web.log_files import DAMAGED, FoundFile, opened
from maintenance.web.log_position import HEAD_LENGTHS, Position, begins_alike, skipped_to

Claims = dict[tuple[int, int], Position]


def claimed(known: Sequence[Position], files: Sequence[FoundFile]) -> Claims:
    """Return the known contents by the identity of the files that hold them, one file each.

    Costs a look at each file that is new or was written to. Raises
    :class:`~maintenance.web.log_files.FileMoved`, as the other function does.
    """
    by_identity = {(p.device, p.inode): p for p in known}
    claims: Claims = {}
    holders: dict[int, tuple[bool, int]] = {}  # by place of the content: is plain, size
    changed = []
    for file in files:
        position = by_identity.get(file.identity)
        if position is not None and position.is_unchanged(file):
            claims[file.identity] = position
            holders[id(position)] = (True, file.size_bytes)
        else:
            changed.append(file)
    # The file that a position was taken of goes first: of two equal ones it is the original.
    changed.sort(key=lambda file: file.identity not in by_identity)
    for file in changed:
        head, is_plain = _head(file)
        rank = (is_plain, file.size_bytes)
        for position in known:
            if (
                position.offset
                and begins_alike(position, head)
                and rank > holders.get(id(position), (False, -1))
                and _continues(position, file)
            ):
                claims = {k: p for k, p in claims.items() if p is not position}
                claims[file.identity] = position
                holders[id(position)] = rank
                break
    return claims


def left_alone(
    files: Sequence[FoundFile],
    claims: Mapping[tuple[int, int], Position],
    known: Sequence[Position],
) -> set[tuple[int, int]]:
    """Return the files whose content is read from another one, by their identity."""
    new = [file for file in files if file.identity not in claims]
    heads = {file.identity: _head(file) for file in new}
    left = set()
    for place, file in enumerate(new):
        head, is_plain = heads[file.identity]
        if len(head) < HEAD_LENGTHS[0]:
            continue
        rank = (is_plain, file.size_bytes, place)
        if any(p.offset and begins_alike(p, head) for p in known) or any(
            _are_alike(head, heads[other.identity][0])
            and (heads[other.identity][1], other.size_bytes, number) > rank
            for number, other in enumerate(new)
            if other is not file
        ):
            left.add(file.identity)
    return left


def _are_alike(one: bytes, other: bytes) -> bool:
    length = min(len(one), len(other))
    return length >= HEAD_LENGTHS[0] and one[:length] == other[:length]


def _continues(position: Position, file: FoundFile) -> bool:
    with opened(file) as (stream, _):
        return skipped_to(position, stream) is not None


def _head(file: FoundFile) -> tuple[bytes, bool]:
    """Return the beginning of a file's content, and whether it is plain."""
    with opened(file) as (stream, is_compressed):
        try:
            return stream.read(HEAD_LENGTHS[-1]), not is_compressed
        except DAMAGED:
            return b"", False
