"""Why an index that no query has read must stay: pure decisions over measured indexes.

``idx_scan`` does not count unique enforcement, and other duties of an index leave no trace in it
either, so that zero scans never suffice to call an index superfluous.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from maintenance.postgres.indexes.catalog import ForeignKey, IndexState, children_of, family_of

# An access method can look up a referenced key if it knows equality on plain columns.
_LOOKUP_METHODS = frozenset({"btree", "hash"})


@dataclass(frozen=True, slots=True)
class UnreadIndex:
    """An index without a scan in the counter window, or with few.

    ``kept_because`` is empty where nothing speaks for keeping it. Size, scans and writes of a
    partitioned index are those of all its partitions; ``pages_saved`` is what its scans can have
    saved at most, if each one took the place of reading the whole table.
    """

    index: IndexState
    size_bytes: int
    scans: int
    writes: int
    pages_saved: int
    kept_because: str = ""


class Families:
    """Which index belongs to which partitioned index."""

    def __init__(self, indexes: Sequence[IndexState]) -> None:
        self._by_oid = {index.oid: index for index in indexes}
        self._children = children_of(indexes)

    def top_of(self, index: IndexState) -> IndexState:
        """Return the partitioned index at the top of the tree, or the index itself."""
        while index.parent_oid is not None and index.parent_oid in self._by_oid:
            index = self._by_oid[index.parent_oid]
        return index

    def members_of(self, index: IndexState) -> tuple[IndexState, ...]:
        """Return an index and those of its partitions."""
        return family_of(index, self._children)

    def scans_of(self, index: IndexState) -> int:
        """Return how often an index and those of its partitions were scanned."""
        return sum(member.scans for member in self.members_of(index))


def unread_indexes(
    indexes: Sequence[IndexState], foreign_keys: Iterable[ForeignKey]
) -> tuple[UnreadIndex, ...]:
    """Return the indexes without a scan, each with the first reason that it must stay.

    Of several unread indexes that could support one foreign key, one is kept: a person who
    follows the whole report must not end without any.
    """
    families = Families(indexes)
    unread = [_entry(index, families) for index in indexes if not families.scans_of(index)]
    return _supporting_kept(unread, indexes, foreign_keys, families)


def rarely_read_indexes(
    indexes: Sequence[IndexState],
    foreign_keys: Collection[ForeignKey],
    writes_per_page_saved: float,
) -> tuple[UnreadIndex, ...]:
    """Return the indexes that took more writes than their scans can have saved pages.

    Those that must stay for another reason are left out. The unused ones count as gone, so that a
    person who drops both kinds does not end without an index that a foreign key needs.
    """
    families = Families(indexes)
    unused = unread_indexes(indexes, foreign_keys)
    gone = _members(unused, families)
    left = [index for index in indexes if index.oid not in gone]
    families = Families(left)
    read = (_entry(index, families) for index in left if families.scans_of(index))
    few = [e for e in read if e.writes > e.pages_saved * writes_per_page_saved]
    kept = _supporting_kept(few, left, foreign_keys, families)
    return tuple(entry for entry in kept if not entry.kept_because)


def _supporting_kept(
    entries: Sequence[UnreadIndex],
    indexes: Sequence[IndexState],
    foreign_keys: Iterable[ForeignKey],
    families: Families,
) -> tuple[UnreadIndex, ...]:
    """Return the entries; of those that alone support a foreign key one is kept."""
    support = _kept_for_foreign_keys(indexes, foreign_keys, _members(entries, families), families)
    return tuple(
        replace(entry, kept_because=support[entry.index.oid])
        if not entry.kept_because and entry.index.oid in support
        else entry
        for entry in entries
    )


def _members(entries: Iterable[UnreadIndex], families: Families) -> set[int]:
    """Return the oids of what goes if all entries go that nothing speaks for."""
    return {
        member.oid
        for entry in entries
        if not entry.kept_because
        for member in families.members_of(entry.index)
    }


def _entry(index: IndexState, families: Families) -> UnreadIndex:
    members = families.members_of(index)
    return UnreadIndex(
        index,
        size_bytes=sum(member.size_bytes for member in members),
        scans=sum(member.scans for member in members),
        writes=sum(member.writes for member in members),
        pages_saved=sum(member.scans * member.table_pages for member in members),
        kept_because=_duty_within(members) or _duty_to_family(index, families),
    )


def _duty_within(members: Sequence[IndexState]) -> str:
    """Return the first duty of an index or, because they go together, of its partitions."""
    for member in members:
        duty = duty_of(member)
        if duty:
            return duty if member is members[0] else f"of {member.qualified_name}: {duty}"
    return ""


_BEING_BUILT = "it is being built or rebuilt at this moment"
_INVALID = "it is invalid, which is another matter: see the analysis indexes"
#: Fields of :class:`IndexState` that each are a reason to stay, the weightiest first.
_DUTIES = (
    ("is_primary", "it is the primary key"),
    ("is_exclusion", "it enforces an exclusion constraint"),
    ("is_replica_identity", "it is the replica identity of its table"),
    ("has_constraint", "it enforces a unique constraint"),
    ("is_referenced", "foreign keys refer to it"),
    ("is_unique", "it keeps its values unique"),
    ("is_clustered", "its table is clustered on it"),
)
_EXPRESSION = (
    "the planner may use the statistics of its expression"
    " (CREATE STATISTICS on the expression can take their place)"
)


def duty_of(index: IndexState) -> str:
    """Return what an index does besides being read, empty where there is nothing."""
    if not index.is_valid:
        return _BEING_BUILT if index.is_in_work else _INVALID
    for name, words in _DUTIES:
        if getattr(index, name):
            return words
    return "" if index.expressions is None else _EXPRESSION


def _duty_to_family(index: IndexState, families: Families) -> str:
    """Say that the index of a partition cannot be dropped without the index it belongs to."""
    top = families.top_of(index)
    if top is index:
        return ""
    if any(member.scans for member in families.members_of(top)):
        return f"it is part of {top.qualified_name}, which is used on other partitions"
    return f"it is part of {top.qualified_name} and goes or stays with it"


def _kept_for_foreign_keys(
    indexes: Sequence[IndexState],
    foreign_keys: Iterable[ForeignKey],
    droppable: Collection[int],
    families: Families,
) -> dict[int, str]:
    """Choose, for each foreign key that nothing else supports, the unread index that must stay."""
    by_table: dict[int, list[IndexState]] = {}
    for index in indexes:
        by_table.setdefault(index.table_oid, []).append(index)
    kept: dict[int, str] = {}
    for key in foreign_keys:
        partly = [i for i in by_table.get(key.table_oid, ()) if supports_partly(i, key)]
        supporting = [i for i in partly if supports_fully(i, key)] or partly
        tops = {i.oid: families.top_of(i).oid for i in supporting}
        if not supporting or any(o not in droppable or tops[o] in kept for o in tops):
            continue
        best = min(supporting, key=lambda i: (i.key_count, i.size_bytes, i.oid))
        kept[tops[best.oid]] = f'no other index supports the foreign key "{key.name}"'
    return kept


def supports_fully(index: IndexState, key: ForeignKey) -> bool:
    """Tell whether the leading columns of the index are the key's columns, in any order."""
    leading = index.columns[: min(index.key_count, len(key.columns))]
    return supports_partly(index, key) and set(leading) == set(key.columns)


def supports_partly(index: IndexState, key: ForeignKey) -> bool:
    """Tell whether the index begins with one of the key's columns."""
    return index.columns[0] in key.columns and _can_look_up(index, key)


def _can_look_up(index: IndexState, key: ForeignKey) -> bool:
    if not index.is_valid or index.access_method not in _LOOKUP_METHODS:
        return False
    if index.predicate is None:
        return True
    # A lookup by equality implies IS NOT NULL of its columns, and no other predicate.
    required = columns_not_null(index.predicate)
    return required is not None and required <= set(key.columns)


# {NULLTEST :arg {VAR :varno 1 :varattno 3 ...} :nulltesttype 1 ...}, where 1 is IS_NOT_NULL
# (src/include/nodes/primnodes.h).
_NOT_NULL = re.compile(
    r"\{NULLTEST :arg \{VAR :varno \d+ :varattno (?P<column>\d+) [^{}]*\} :nulltesttype 1[^{}]*\}"
)


def columns_not_null(predicate: str) -> set[int] | None:
    """Return the columns of a condition that is IS NOT NULL of columns alone, else ``None``."""
    if _NOT_NULL.sub("", predicate).strip("() "):
        return None
    return {int(match["column"]) for match in _NOT_NULL.finditer(predicate)}
