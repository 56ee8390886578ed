"""What an index is made of: whether one can stand in for another.

Everything is compared as the catalog has it, number by number and never as text: columns 2 and 23
begin alike only when they are written out.
"""

import re
from dataclasses import dataclass

from maintenance.postgres.indexes.catalog import IndexState


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One key column: ``what`` is an attribute number or the tree of an expression."""

    what: int | str
    operator_class: int
    collation: int
    sort_option: int


def key_of(index: IndexState) -> tuple[KeyPart, ...]:
    """Return the key columns in their order."""
    expressions = iter(split_trees(index.expressions or ""))
    what: list[int | str] = [column or next(expressions) for column in index.columns]
    return tuple(
        KeyPart(*part)
        for part in zip(
            what[: index.key_count],
            index.operator_classes,
            index.collations,
            index.sort_options,
            strict=True,
        )
    )


def included_of(index: IndexState) -> frozenset[int]:
    """Return the columns that the index carries without ordering by them (INCLUDE)."""
    return frozenset(index.columns[index.key_count :])


_BRACE = re.compile(r"(?<!\\)[{}]")


def split_trees(text: str) -> list[str]:
    """Split the catalog's list of expression trees, ``({A ...} {B ...})``, into its members."""
    trees = []
    depth = start = 0
    for brace in _BRACE.finditer(text):
        if brace.group() == "{":
            if depth == 0:
                start = brace.start()
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                trees.append(text[start : brace.end()])
    return trees


def covers(other: IndexState, index: IndexState) -> bool:
    """Tell whether ``other`` can serve every query and every promise of ``index``.

    A btree can serve what one on its leading columns serves. With other access methods that does
    not hold (each GIN key and BRIN range is searched on its own, a hash has one column), and only
    the same key with the same settings does. Reversed order counts as different.
    """
    if other.oid == index.oid or other.table_oid != index.table_oid:
        return False
    if other.access_method != index.access_method or other.predicate != index.predicate:
        return False
    if not (is_usable(other) and is_usable(index)):
        return False
    key, others_key = key_of(index), key_of(other)
    if index.access_method == "btree":
        stands_in = others_key[: len(key)] == key and included_of(index) <= set(other.columns)
    else:
        stands_in = (
            others_key == key
            and included_of(index) <= included_of(other)
            and other.operator_class_options == index.operator_class_options
            and set(other.storage_parameters) == set(index.storage_parameters)
        )
    return stands_in and _keeps_unique(other, index)


def is_usable(index: IndexState) -> bool:
    """Tell whether queries can use the index."""
    return index.is_valid and index.is_ready and index.is_live


def _keeps_unique(other: IndexState, index: IndexState) -> bool:
    """Tell whether ``other`` refuses every row that ``index`` refuses, and as early."""
    if not index.is_unique:
        return True
    return (
        other.is_unique
        and other.key_count == index.key_count
        and (other.nulls_not_distinct or not index.nulls_not_distinct)
        and (other.is_immediate or not index.is_immediate)
    )
