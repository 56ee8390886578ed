"""Which indexes to propose for what statements read: pure decisions on numbers of rows.

The measure of an index is how many rows a statement still has to look at with it. A proposal must
beat every index that exists by far; of two that serve the same statements, one is kept.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from maintenance.postgres.indexes.advice.catalog import IndexKey, IndexShape, Table, normalised
from maintenance.postgres.indexes.advice.reads import TableRead

#: An index that leaves more of the table is not worth its random reads: beside a sequential scan
#: a page costs 1.1 (SSD) to 4 (disk) times as much, and each row may lie on a page of its own.
MAXIMUM_ROWS_RATIO = 0.05

#: Of two ways to the rows, the better one must look at so many times fewer of them. Below, the
#: statistics' error decides more than the index.
MINIMUM_IMPROVEMENT = 10

#: Looking through so many rows takes well under a millisecond: no further key is worth its bytes.
FEW_ROWS = 20

#: More equalities in one key than this gain nothing that statistics of single columns could show.
MAXIMUM_EQUALITIES = 3

#: Fewer rows than this are looked through in a millisecond without any index.
MINIMUM_ROWS = 1000

#: A partial index pays where its condition leaves out half of the rows: below, it mostly serves
#: fewer statements. Conditions that hold for nearly all rows are not worth their mention.
PARTIAL_RATIO = 0.5
WORTH_MENTIONING_RATIO = 0.9

#: A merged index may make a statement look at so many times more rows than its own index would.
MERGE_TOLERANCE = 2.0

#: What the planner takes a search for: DEFAULT_MATCH_SEL of PostgreSQL's selfuncs.h.
SEARCH_RATIO = 0.005

# Access methods that look rows up by equality of their leading keys.
_LOOKUP_METHODS = frozenset({"btree", "hash"})

#: A btree's entries may have 2704 bytes on 8 kB pages; with wider values an INSERT could fail.
MAXIMUM_KEY_BYTES = 500


@dataclass(frozen=True, slots=True)
class Proposal:
    """An index of ``table`` that serves ``reads``.

    ``rows_before`` is how many rows one call looks at today, ``rows_after`` how many one look-up
    would: of a joined table there is one for each row of the other. Both are means over calls.
    ``total_ms`` is what the statements cost in the window, all they do included.
    """

    table: Table
    shape: IndexShape
    reads: tuple[TableRead, ...]
    notes: tuple[str, ...] = ()

    @property
    def statement_ids(self) -> tuple[str, ...]:
        """The identifiers of the statements, the costliest first."""
        times = {read.cost.query_id: read.cost.total_ms for read in self.reads}
        return tuple(sorted(times, key=lambda query_id: (-times[query_id], query_id)))

    @property
    def total_ms(self) -> float:
        """Time of the statements in the window."""
        return sum({read.cost.query_id: read.cost.total_ms for read in self.reads}.values())

    @property
    def calls(self) -> int:
        """Calls of the statements in the window."""
        return sum({read.cost.query_id: read.cost.calls for read in self.reads}.values())

    @property
    def rows_before(self) -> float:
        """Rows that a call looks at with the best of today's indexes."""
        return self._mean([best_today(read) for read in self.reads])

    @property
    def rows_after(self) -> float:
        """Rows that a call would look at."""
        return self._mean([rows_looked_at(self.shape, read) for read in self.reads])

    def _mean(self, rows: Sequence[float]) -> float:
        weights = [max(1, read.cost.calls) for read in self.reads]
        return sum(r * w for r, w in zip(rows, weights, strict=True)) / sum(weights)


def propose(reads: Iterable[TableRead]) -> tuple[Proposal, ...]:
    """Return the indexes that would help, those for the costliest statements first."""
    given = list(reads)
    usage = _usage(given)
    wanted: dict[tuple[int, IndexShape], list[TableRead]] = {}
    for read in given:
        shape = best_shape(read, usage)
        if shape is not None and _is_worth(shape, read):
            wanted.setdefault((read.table.oid, shape), []).append(read)
    proposals = [
        Proposal(found[0].table, shape, tuple(found), _notes(shape, found))
        for (_, shape), found in wanted.items()
    ]
    return tuple(sorted(_merged(proposals), key=lambda p: (-p.total_ms, p.table.qualified_name)))


def _usage(reads: Iterable[TableRead]) -> Counter[tuple[int, str]]:
    """Return how much time stands behind each equality: what many use goes first in a key."""
    usage: Counter[tuple[int, str]] = Counter()
    for read in reads:
        for key in read.equalities:
            usage[read.table.oid, key] += int(read.cost.total_ms) + 1
    return usage


def best_shape(read: TableRead, usage: Mapping[tuple[int, str], int]) -> IndexShape | None:
    """Return the smallest index that leaves about as few rows as any; ``None`` where none helps."""
    best: IndexShape | None = None
    fewest = 0.0
    for shape in _candidates(read, usage):
        rows = max(FEW_ROWS, rows_looked_at(shape, read))
        if best is None or rows * MERGE_TOLERANCE < fewest:
            best, fewest = shape, rows
    return best


def _candidates(read: TableRead, usage: Mapping[tuple[int, str], int]) -> Iterable[IndexShape]:
    """Yield shapes, the plain and small ones first."""
    equal = [IndexKey(key) for key in _equal_keys(read, usage)[:MAXIMUM_EQUALITIES]]
    tails = [(tail,) for tail in _tails(read) if tail.text not in read.equalities]
    partial = _partial_conditions(read)
    for conditions in ((), partial) if partial else ((),):
        for count in range(len(equal) + 1):
            for tail in ((), *tails):
                if keys := (*equal[:count], *tail):
                    yield IndexShape("btree", keys, conditions)
        if conditions and not equal and not tails:
            yield IndexShape("btree", (IndexKey(_stand_in(read)),), conditions)
    for search in read.searches:
        if not search.missing_extension:
            yield IndexShape("gin", (search.key,))


def _equal_keys(read: TableRead, usage: Mapping[tuple[int, str], int]) -> list[str]:
    """Return the equalities worth a key: by their use, then the most selective first."""
    useful = [
        key
        for key, ratio in read.equalities.items()
        if ratio <= PARTIAL_RATIO and read.mean_bytes.get(key, 0) <= MAXIMUM_KEY_BYTES
    ]
    return sorted(useful, key=lambda k: (-usage.get((read.table.oid, k), 0), read.equalities[k], k))


def _tails(read: TableRead) -> list[IndexKey]:
    """Return what may follow the equalities: ORDER BY where few rows of it are asked for, or a range.

    Values from a list come in no common order.
    """
    tails: list[IndexKey] = []
    if read.order is not None and read.limit_rows is not None and not read.lists:
        tails.append(read.order)
    tails += [IndexKey(key) for key in sorted(read.ranges, key=lambda k: (read.ranges[k], k))]
    seen: dict[str, IndexKey] = {}
    for tail in tails:
        if read.mean_bytes.get(tail.text, 0) <= MAXIMUM_KEY_BYTES:
            seen.setdefault(tail.text, tail)
    return list(seen.values())


def _partial_conditions(read: TableRead) -> tuple[str, ...]:
    telling = {c: r for c, r in read.conditions.items() if r <= WORTH_MENTIONING_RATIO}
    return tuple(sorted(telling)) if prod(telling.values()) <= PARTIAL_RATIO else ()


def _stand_in(read: TableRead) -> str:
    """Return a key for an index whose condition is all that matters."""
    if read.table.primary_key:
        return read.table.primary_key[0]
    return min(column.quoted for column in read.table.columns.values())


def rows_looked_at(shape: IndexShape, read: TableRead) -> float:
    """Return how many rows the statement still looks at with this index; all where it is no use."""
    table_rows = read.table.rows
    held = _held_conditions(shape, read)
    if held is None:
        return table_rows
    if shape.method not in _LOOKUP_METHODS:
        return _rows_of_search(shape, read)
    rows = table_rows * prod(read.conditions[c] for c in held)
    used = _used_prefix(shape, read)
    rows *= prod(read.equalities[k] for k in used)
    following = shape.keys[len(used)] if len(used) < len(shape.keys) else None
    is_sorted = shape.method == "btree"
    ranged = following.text if is_sorted and following and following.text in read.ranges else None
    if ranged is not None:
        rows *= read.ranges[ranged]
    in_order = is_sorted and following is not None and _gives_order(following, used, read)
    if not (held or used or ranged or in_order):
        return table_rows
    rest = _remaining_ratio(read, held, used, ranged)
    if rest == 1 and read.observed_rows is not None:
        rows = read.observed_rows
    if in_order and read.limit_rows is not None:
        rows = min(rows, read.limit_rows / max(rest, 1e-9))
    return max(1.0, min(rows, table_rows))


def _held_conditions(shape: IndexShape, read: TableRead) -> tuple[str, ...] | None:
    """Return the conditions of a partial index that the statement repeats; ``None`` if it does not."""
    if not shape.predicate:
        held = shape.conditions
    else:
        by_text = {normalised(c): c for c in read.conditions}
        # Equality and ranges imply that the value is there.
        implied = {normalised(f"{key} IS NOT NULL") for key in (*read.equalities, *read.ranges)}
        parts = {normalised(part) for part in shape.predicate.split(" AND ")}
        if not parts <= by_text.keys() | implied:
            return None
        held = tuple(by_text[part] for part in parts if part in by_text)
    return held if all(c in read.conditions for c in held) else None


def _used_prefix(shape: IndexShape, read: TableRead) -> tuple[str, ...]:
    by_text = {normalised(key): key for key in read.equalities}
    used: list[str] = []
    for key in shape.keys:
        found = by_text.get(normalised(key.text))
        if found is None:
            break
        used.append(found)
    return tuple(used)


def _gives_order(key: IndexKey, used: Sequence[str], read: TableRead) -> bool:
    if read.order is None or read.limit_rows is None:
        return False
    if normalised(key.text) != normalised(read.order.text):
        return False
    if read.lists.intersection(used):
        return False
    # An index is read in both directions; NULLs go to the other end with it.
    return (key.is_descending == read.order.is_descending) == (
        key.nulls_first == read.order.nulls_first
    )


def _remaining_ratio(
    read: TableRead, held: Sequence[str], used: Sequence[str], ranged: str | None
) -> float:
    """Return which share of the rows found passes the conditions that the index does not know."""
    rest = prod(r for key, r in read.equalities.items() if key not in used)
    rest *= prod(r for condition, r in read.conditions.items() if condition not in held)
    rest *= prod(r for key, r in read.ranges.items() if key != ranged)
    return rest * SEARCH_RATIO ** len(read.searches)


def _rows_of_search(shape: IndexShape, read: TableRead) -> float:
    own = {normalised(key.text) for key in shape.keys}
    if not any(normalised(search.key.text) in own for search in read.searches):
        return read.table.rows
    if read.observed_rows is not None and len(read.searches) == 1:
        return min(read.table.rows, max(1.0, read.observed_rows))
    return max(1.0, read.table.rows * SEARCH_RATIO)


def best_today(read: TableRead) -> float:
    """Return how many rows the statement looks at with the best of the existing indexes."""
    rows = [rows_looked_at(shape, read) for shape in read.table.indexes]
    return min([*rows, read.table.rows])


def _is_worth(shape: IndexShape, read: TableRead) -> bool:
    before, after = best_today(read), rows_looked_at(shape, read)
    return (
        before >= MINIMUM_ROWS
        and after <= MAXIMUM_ROWS_RATIO * read.table.rows
        and before >= MINIMUM_IMPROVEMENT * after
    )


def _notes(shape: IndexShape, reads: Sequence[TableRead]) -> tuple[str, ...]:
    own = {key.text for key in shape.keys}
    notes = (s.note for read in reads for s in read.searches if s.key.text in own and s.note)
    return tuple(dict.fromkeys(notes))


def _merged(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Give up each proposal whose statements another one on the same table serves about as well."""
    by_table: dict[int, list[Proposal]] = {}
    # The longest key first: it may stand for its own prefixes.
    for proposal in sorted(
        proposals, key=lambda p: (-len(p.shape.keys), len(p.shape.conditions), -p.total_ms)
    ):
        kept = by_table.setdefault(proposal.table.oid, [])
        for position, other in enumerate(kept):
            if _stands_for(other, proposal):
                kept[position] = replace(
                    other,
                    reads=(*other.reads, *proposal.reads),
                    notes=tuple(dict.fromkeys((*other.notes, *proposal.notes))),
                )
                break
        else:
            kept.append(proposal)
    return [proposal for kept in by_table.values() for proposal in kept]


def _stands_for(one: Proposal, other: Proposal) -> bool:
    return all(
        rows_looked_at(one.shape, read)
        <= MERGE_TOLERANCE * max(FEW_ROWS, rows_looked_at(other.shape, read))
        for read in other.reads
    )
