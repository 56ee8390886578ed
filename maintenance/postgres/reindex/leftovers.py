"""What interrupted rebuilds leave behind: invalid copies that every write still keeps up to date.

REINDEX CONCURRENTLY builds ``<name>_ccnew`` and gives it the old one's name when it is complete; the
old one is ``<name>_ccold`` then (PostgreSQL documentation, "Rebuilding Indexes Concurrently").
Whichever is invalid when it ends early is of no use to anybody, because its twin is valid. From long
names the server cuts off the end before it adds the suffix: whose copy one is, only its structure
tells.
"""

import re
from collections.abc import Iterable, Sequence

from maintenance.postgres.indexes.catalog import IndexState
from maintenance.postgres.indexes.invalid import Twins, invalid_indexes
from maintenance.postgres.indexes.structure import is_usable

#: The server adds a number where the name is taken already.
_SUFFIX = re.compile(r"_cc(new|old)\d*\Z")


def leftovers_among(indexes: Sequence[IndexState]) -> list[IndexState]:
    """Return the leftovers that may be dropped; ``indexes`` are all of their tables.

    Of a TOAST table the valid index may be missing from ``indexes``: :func:`is_still_leftover` has
    to confirm it before the drop.
    """
    twins = Twins(indexes)
    return [
        index
        for index in invalid_indexes(indexes)
        if _is_spare(index) and (index.is_toast or _has_usable_twin(index, twins))
    ]


def is_still_leftover(index: IndexState, of_its_table: Iterable[IndexState]) -> bool:
    """Tell whether what was found before is the same leftover now, with a valid twin beside it."""
    present = tuple(of_its_table)
    twins = Twins(present)
    return any(
        now.oid == index.oid and _is_spare(now) and _has_usable_twin(now, twins)
        for now in invalid_indexes(present)
        if now.name == index.name
    )


def _is_spare(index: IndexState) -> bool:
    """Tell whether an invalid index bears a copy's name and nothing depends on it.

    The name alone proves nothing, but whoever named a failed index of his own so loses nothing
    either: a valid one of the same structure stands beside it.
    """
    needed = (
        index.has_constraint
        or index.is_referenced
        or index.is_primary
        or index.is_replica_identity
        or index.is_partitioned
        or index.parent_oid is not None
    )
    return _SUFFIX.search(index.name) is not None and not needed


def _has_usable_twin(index: IndexState, twins: Twins) -> bool:
    twin = twins.of(index)
    return twin is not None and twin.oid != index.oid and is_usable(twin)
