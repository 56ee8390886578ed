"""Tables, columns and indexes as advice on missing indexes needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its statistics; these are ``None`` where the server has none or hides them.

    ``distinct`` is ``n_distinct`` of pg_stats: a number of values, or below zero a share of the
    rows. ``category`` is ``typcategory``; ``true_ratio`` is the share of true in a boolean.
    """

    name: str
    quoted: str
    type_name: str
    category: str
    distinct: float | None
    null_ratio: float | None
    mean_bytes: float | None
    true_ratio: float | None = None

    @property
    def is_text(self) -> bool:
        """Whether a cast to text changes nothing."""
        return self.category == "S"

    @property
    def is_boolean(self) -> bool:
        """Whether the column is a condition by itself."""
        return self.category == "B"


@dataclass(frozen=True, slots=True)
class IndexKey:
    """One key of an index: a quoted column or an expression, as it stands in CREATE INDEX."""

    text: str
    is_descending: bool = False
    nulls_first: bool = False
    operator_class: str = ""

    @property
    def sql(self) -> str:
        """The key with its operator class and order; what the server assumes is left out."""
        words = [self.text]
        if self.operator_class:
            words.append(self.operator_class)
        if self.is_descending:
            words.append("DESC")
        if self.nulls_first != self.is_descending:
            words.append("NULLS FIRST" if self.nulls_first else "NULLS LAST")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class IndexShape:
    """What an index is, apart from its name: present in the database or thought of.

    ``conditions`` are those of a partial index that advice knows by themselves. ``predicate`` is
    the whole of an existing index's predicate as the server prints it, empty without one.
    """

    method: str
    keys: tuple[IndexKey, ...]
    conditions: tuple[str, ...] = ()
    predicate: str = ""

    @property
    def definition(self) -> str:
        """What follows ON table in CREATE INDEX."""
        using = "" if self.method == "btree" else f"USING {self.method} "
        keys = ", ".join(key.sql for key in self.keys)
        where = f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        return f"{using}({keys}){where}"


@dataclass(frozen=True)
class Table:
    """A table with its columns and usable indexes.

    ``rows`` and ``size_bytes`` are the planner's own numbers, ``kind`` is ``relkind``.
    ``primary_key`` holds quoted columns, ``foreign_keys`` the first of each. The table is not ``is_known`` where its indexes could not
    be read without waiting for a lock.
    """

    oid: int
    schema: str
    name: str
    qualified_name: str
    rows: float
    size_bytes: int
    columns: Mapping[str, Column]
    indexes: tuple[IndexShape, ...] = ()
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[str, ...] = ()
    kind: str = "r"
    is_known: bool = True

    def equality_ratio(self, column: Column) -> float | None:
        """Return the mean share of rows that one value has; ``None`` without statistics."""
        if column.distinct is None:
            return None
        count = column.distinct if column.distinct > 0 else -column.distinct * self.rows
        return (1 - (column.null_ratio or 0.0)) / max(1.0, count)


@dataclass(frozen=True)
class Catalog:
    """The tables that statements may mean, and where unqualified names are looked for."""

    tables: Sequence[Table]
    search_path: tuple[str, ...] = ("public",)
    trigram_operator_class: str = ""
    text_search_configuration: str = "simple"
    _by_name: dict[str, list[Table]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name: dict[str, list[Table]] = {}
        for table in self.tables:
            by_name.setdefault(table.name, []).append(table)
        object.__setattr__(self, "_by_name", by_name)

    def resolve(self, schema: str, name: str) -> Table | None:
        """Return the table of that name; ``None`` where there is none or more than one may be meant.

        A session may search other schemas than its role's default: an unqualified name that
        several schemas have stands for none of them, unless only one is searched.
        """
        found = self._by_name.get(name, [])
        if schema:
            found = [table for table in found if table.schema == schema]
        elif len(found) > 1:
            found = [table for table in found if table.schema in self.search_path]
        return found[0] if len(found) == 1 else None


def normalised(expression: str) -> str:
    """Return an expression as it is compared: without spaces, parentheses and casts to text."""
    text = expression.replace("::character varying", "").replace("::text", "")
    return "".join(c for c in text.replace("::regconfig", "") if c not in " ()").replace(
        "pg_catalog.", ""
    )
