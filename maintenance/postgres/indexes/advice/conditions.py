"""The conditions of one SELECT, by the table that each restricts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from maintenance.postgres.indexes.advice.catalog import Catalog, Column, IndexKey, Table
from maintenance.postgres.indexes.advice.reads import Search

#: What the planner takes a range for whose bounds it does not know: DEFAULT_INEQ_SEL and
#: DEFAULT_RANGE_INEQ_SEL of PostgreSQL's selfuncs.h.
OPEN_RANGE_RATIO = 1 / 3
CLOSED_RANGE_RATIO = 0.005

#: How many rows LIMIT is taken for where they are not counted: a page of results.
LIMITED_ROWS = 20.0

#: How many values a list is taken for (the planner's guess for an array of unknown length).
LIST_LENGTH = 10

# Types that a btree cannot hold, or should not: no order, or values of unbounded length.
_UNINDEXABLE = frozenset({"json", "jsonb", "xml", "tsvector", "tsquery", "point", "box", "polygon"})


@dataclass(slots=True)
class Draft:
    """The conditions on one table while they are gathered.

    ``constants`` are equalities with a value, ``joins`` with another source of the SELECT; the
    table ``is_driven`` where few rows come from there.
    """

    table: Table
    is_driven: bool = False
    constants: dict[str, float] = field(default_factory=dict)
    joins: dict[str, float] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    ranges: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, set[str]] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)
    searches: list[Search] = field(default_factory=list)
    mean_bytes: dict[str, float] = field(default_factory=dict)
    lacks_statistics: bool = False


class Conditions:
    """Reads one SELECT. ``drafts`` are by alias; ``unresolved`` counts tables that we do not know.

    ``rows_per_call`` is how many rows the SELECT returned, where that is counted.
    """

    def __init__(self, scope: Scope, catalog: Catalog, rows_per_call: float | None) -> None:
        self._scope = scope
        self._select = scope.expression
        self._catalog = catalog
        self._sources: dict[str, Table | None] = {}
        self._rows_per_call = None if _calls_functions(scope.expression) else rows_per_call
        self._is_complete = True
        self.unresolved = 0
        for alias, (_, source) in scope.selected_sources.items():
            self._sources[self._alias(alias)] = self._resolved(source)
        self.drafts = {
            alias: Draft(table) for alias, table in self._sources.items() if table is not None
        }
        for conjunct, nullable in self._conjuncts():
            if not self._take(conjunct, nullable):
                self._is_complete = False
        for alias, draft in self.drafts.items():
            draft.is_driven |= scope.is_correlated_subquery or any(
                other != alias and self._is_narrow(other) for other in self._sources
            )

    def _alias(self, name: str) -> str:
        # Sources come by their text: an unquoted alias is folded, a quoted one keeps its capitals.
        for node in self._scope.tables:
            alias = node.args.get("alias")
            identifier = node.this if alias is None else alias.this
            if isinstance(identifier, exp.Identifier) and identifier.name == name:
                return name_of(identifier)
        return name

    def _resolved(self, source: Any) -> Table | None:
        if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
            return None  # a subquery, a WITH, a function: it has a scope of its own
        schema = source.args.get("db")
        table = self._catalog.resolve(name_of(schema) if schema else "", name_of(source.this))
        self.unresolved += table is None
        return table

    def _is_narrow(self, alias: str) -> bool:
        """Whether a source of this SELECT yields few rows, for each of which others are read."""
        draft = self.drafts.get(alias)
        if draft is None:
            return True  # a subquery or a function: most are there to be joined row by row
        return bool(draft.constants or draft.searches or draft.ranges)

    def _conjuncts(self) -> Iterator[tuple[exp.Expr, str | None]]:
        """Yield each ANDed condition, with the alias it is limited to under an outer join."""
        where = self._select.args.get("where")
        if where is not None:
            yield from ((part, None) for part in _flattened(where.this))
        for join in self._select.args.get("joins") or []:
            condition = join.args.get("on")
            side = (join.side or "").upper()
            if condition is None or side in {"FULL", "RIGHT"}:
                continue
            limited = self._alias(join.alias_or_name) if side == "LEFT" else None
            yield from ((part, limited) for part in _flattened(condition))

    def _take(self, node: exp.Expr, limited_to: str | None) -> bool:
        """Note one condition; return whether it was understood whole."""
        node = node.unnest()
        for kind, take in self._TAKEN_BY:
            if isinstance(node, kind):
                return bool(take(self, node, limited_to))
        return self._take_condition(node, limited_to)

    # --- equality ---------------------------------------------------------------------------------

    def _take_equality(self, node: exp.EQ, limited_to: str | None) -> bool:
        taken = False
        for own, other in ((node.this, node.expression), (node.expression, node.this)):
            key = self._key(own)
            if key is None or limited_to not in {None, key.alias}:
                continue
            is_list = isinstance(other, exp.Any)
            kind = self._compared_with(other, key.alias)
            if kind == "own" or not key.fits_btree:
                continue
            self._note_equality(key, joined=kind == "joined", is_list=is_list)
            taken = True
        return taken

    def _take_list(self, node: exp.In, limited_to: str | None) -> bool:
        key = self._key(node.this)
        if key is None or limited_to not in {None, key.alias} or not key.fits_btree:
            return False
        if any(self._compared_with(v, key.alias) == "own" for v in node.expressions):
            return False
        is_query = node.args.get("query") is not None
        self._note_equality(key, joined=is_query, is_list=not is_query)
        if is_query:
            self.drafts[key.alias].is_driven = True
        return not is_query

    def _note_equality(self, key: "_Key", *, joined: bool, is_list: bool) -> None:
        draft = self.drafts[key.alias]
        ratio = draft.table.equality_ratio(key.column)
        if ratio is None:
            draft.lacks_statistics = True
            return
        if is_list:
            draft.lists.add(key.text)
            ratio = min(1.0, ratio * LIST_LENGTH)
        (draft.joins if joined else draft.constants)[key.text] = ratio
        draft.mean_bytes[key.text] = key.column.mean_bytes or 0.0

    def _compared_with(self, value: exp.Expr, alias: str) -> str:
        """Return whether the other side is a ``value``, ``joined`` to another source, or our ``own``."""
        columns = value.find_all(exp.Column)
        # Those of a subquery are conditions of a SELECT of its own.
        outside = [c for c in columns if c.find_ancestor(exp.Select) is self._select]
        aliases = {self._alias_of(column) for column in outside}
        if alias in aliases or None in aliases:
            return "own"
        return "joined" if aliases else "value"

    # --- ranges and order -------------------------------------------------------------------------

    def _take_range(self, node: exp.Expr, limited_to: str | None) -> bool:
        is_lower = isinstance(node, exp.GT | exp.GTE)
        bound, mirrored = ("low", "high") if is_lower else ("high", "low")
        for own, other, side in (
            (node.this, node.expression, bound),
            (node.expression, node.this, mirrored),
        ):
            key = self._key(own)
            if key is not None and self._compared_with(other, key.alias) == "value":
                return self._note_range(own, (side,), limited_to)
        return False

    def _take_between(self, node: exp.Between, limited_to: str | None) -> bool:
        return self._note_range(node.this, ("low", "high"), limited_to)

    def _note_range(self, node: exp.Expr, sides: Sequence[str], limited_to: str | None) -> bool:
        key = self._key(node)
        if key is None or limited_to not in {None, key.alias} or not key.fits_btree:
            return False
        draft = self.drafts[key.alias]
        bounds = draft.bounds.setdefault(key.text, set())
        bounds.update(sides)
        draft.ranges[key.text] = CLOSED_RANGE_RATIO if len(bounds) > 1 else OPEN_RANGE_RATIO
        draft.mean_bytes[key.text] = key.column.mean_bytes or 0.0
        return True

    def order_of(self, draft: Draft) -> IndexKey | None:
        """Return the first key of ORDER BY if an index of this table could give that order."""
        select = self._select
        order = select.args.get("order")
        if order is None or any(select.args.get(k) for k in ("group", "distinct", "having")):
            return None
        first = order.expressions[0]
        if not isinstance(first, exp.Ordered):
            return None
        if any(e.alias and e.alias == first.this.name for e in select.expressions):
            return None  # an output of that name goes before a column
        key = self._key(first.this)
        if key is None or self.drafts.get(key.alias) is not draft or not key.fits_btree:
            return None
        draft.mean_bytes[key.text] = key.column.mean_bytes or 0.0
        is_descending = bool(first.args.get("desc"))
        return IndexKey(key.text, is_descending, bool(first.args.get("nulls_first")))

    # --- conditions that hold by themselves -------------------------------------------------------

    def _take_condition(self, node: exp.Expr, limited_to: str | None) -> bool:
        is_negated = isinstance(node, exp.Not)
        inner = node.this.unnest() if is_negated else node
        if isinstance(inner, exp.Is):
            return self._take_is(inner, limited_to, is_negated=is_negated)
        key = self._key(inner)
        if key is None or not key.column.is_boolean:
            return False
        return self._note_boolean(key, limited_to, wanted=not is_negated)

    def _take_is(self, node: exp.Is, limited_to: str | None, *, is_negated: bool) -> bool:
        key, value = self._key(node.this), node.expression
        if key is None or limited_to not in {None, key.alias}:
            return False
        if isinstance(value, exp.Boolean) and not is_negated and key.column.is_boolean:
            return self._note_boolean(key, limited_to, wanted=bool(value.this))
        if not isinstance(value, exp.Null):
            return False
        draft = self.drafts[key.alias]
        nulls = key.column.null_ratio
        if nulls is None:
            draft.lacks_statistics = True
        elif is_negated:
            draft.conditions[f"{key.text} IS NOT NULL"] = 1 - nulls
        else:
            draft.conditions[f"{key.text} IS NULL"] = nulls
        return True

    def _note_boolean(self, key: "_Key", limited_to: str | None, *, wanted: bool) -> bool:
        if limited_to not in {None, key.alias}:
            return False
        draft = self.drafts[key.alias]
        true_ratio = key.column.true_ratio
        if true_ratio is None:
            draft.lacks_statistics = True
            return True
        nulls = key.column.null_ratio or 0.0
        ratio = true_ratio if wanted else max(0.0, 1 - true_ratio - nulls)
        draft.conditions[key.text if wanted else f"NOT {key.text}"] = ratio
        return True

    # --- what GIN serves --------------------------------------------------------------------------

    def _take_pattern(self, node: exp.Expr, limited_to: str | None) -> bool:
        key = self._key(node.this)
        if key is None or limited_to not in {None, key.alias} or not key.column.is_text:
            return False
        operator_class = self._catalog.trigram_operator_class
        note = (
            "The server's statistics do not show the pattern: it must hold three letters or digits"
            " in a row for this index to help."
        )
        draft = self.drafts[key.alias]
        missing = "" if operator_class else "pg_trgm"
        index_key = IndexKey(key.text, operator_class=operator_class)
        draft.searches.append(Search(index_key, note, missing_extension=missing))
        return True

    def _take_containment(self, node: exp.Expr, limited_to: str | None) -> bool:
        key = self._key(node.this)
        if key is None or limited_to not in {None, key.alias}:
            return False
        if key.column.type_name != "jsonb" and key.column.category != "A":
            return False
        self.drafts[key.alias].searches.append(Search(IndexKey(key.text)))
        return True

    def _take_text_search(self, node: exp.Expr, limited_to: str | None) -> bool:
        for side in (node.this, *node.expressions):
            key = self._key(side)
            if key is not None and key.column.type_name == "tsvector":
                found, search = key, Search(IndexKey(key.text))
                break
            vector = self._vector(side)
            if vector is not None:
                found, search = vector
                break
        else:
            return False
        if limited_to in {None, found.alias}:
            self.drafts[found.alias].searches.append(search)
        return True

    def _vector(self, node: exp.Expr) -> "tuple[_Key, Search] | None":
        """Return to_tsvector(configuration, column) as an expression that can be indexed."""
        node = node.unnest()
        if not isinstance(node, exp.Anonymous) or node.name.lower() != "to_tsvector":
            return None
        arguments = node.expressions
        if len(arguments) != 2:
            return None  # the configuration of a session is not immutable: no index can serve it
        text, is_guarded = arguments[1].unnest(), False
        if isinstance(text, exp.Coalesce):
            text, is_guarded = text.this, True
        key = self._key(text)
        if key is None or not key.column.is_text:
            return None
        argument = f"COALESCE({key.text}, '')" if is_guarded else key.text
        configuration = self._catalog.text_search_configuration
        literal = configuration.replace("'", "''")
        note = (
            "The server's statistics do not show the text search configuration of the statement:"
            f" the index helps only if it is '{configuration}', as written here"
            + (", and if missing text counts as empty." if is_guarded else ".")
        )
        text_sql = f"to_tsvector('{literal}', {argument})"
        return key, Search(IndexKey(text_sql), note)

    _TAKEN_BY: ClassVar[Sequence[tuple[Any, Callable[..., bool]]]] = (
        (exp.EQ, _take_equality),
        (exp.In, _take_list),
        ((exp.LT, exp.LTE, exp.GT, exp.GTE), _take_range),
        (exp.Between, _take_between),
        ((exp.Like, exp.ILike), _take_pattern),
        (exp.ArrayContainsAll, _take_containment),
        (exp.MatchAgainst, _take_text_search),
    )

    # --- names ------------------------------------------------------------------------------------

    def _key(self, node: exp.Expr | None) -> "_Key | None":
        """Return the column, or lower() or upper() of one, that an expression is."""
        if node is None:
            return None
        node = node.unnest()
        if isinstance(node, exp.Lower | exp.Upper):
            inner = self._key(node.this)
            if inner is None or inner.is_expression or not inner.column.is_text:
                return None
            name = "lower" if isinstance(node, exp.Lower) else "upper"
            return _Key(inner.alias, inner.column, f"{name}({inner.text})", is_expression=True)
        if isinstance(node, exp.Cast) and node.to.this in exp.DataType.TEXT_TYPES:
            inner = self._key(node.this)
            # Between types of text a cast changes nothing that an index would notice.
            return inner if inner is not None and inner.column.is_text else None
        if not isinstance(node, exp.Column):
            return None
        alias = self._alias_of(node)
        draft = self.drafts.get(alias) if alias is not None else None
        column = draft.table.columns.get(name_of(node.this)) if draft is not None else None
        return None if alias is None or column is None else _Key(alias, column, column.quoted)

    def _alias_of(self, column: exp.Column) -> str | None:
        """Return which source a column is of; ``None`` where that cannot be told."""
        qualifier = column.args.get("table")
        if qualifier is not None:
            return name_of(qualifier)
        if not isinstance(column.this, exp.Identifier):
            return None
        name = name_of(column.this)
        if any(table is None for table in self._sources.values()):
            return None
        own = [a for a, table in self._sources.items() if table and name in table.columns]
        return own[0] if len(own) == 1 else None

    # --- what was counted -------------------------------------------------------------------------

    @property
    def limit_rows(self) -> float | None:
        """How many rows LIMIT lets through, as counted where that is possible; ``None`` without."""
        if self._select.args.get("limit") is None:
            return None
        return LIMITED_ROWS if self._rows_per_call is None else max(1.0, self._rows_per_call)

    @property
    def observed_rows(self) -> float | None:
        """The counted rows, where they are all those of one table that fit the conditions."""
        shortened = ("group", "distinct", "limit", "offset", "having")
        is_whole = (
            len(self.drafts) == len(self._sources) == 1
            and self._is_complete
            and not any(self._select.args.get(name) for name in shortened)
        )
        return self._rows_per_call if is_whole else None


@dataclass(frozen=True, slots=True)
class _Key:
    """A column of a source, or an expression on it."""

    alias: str
    column: Column
    text: str
    is_expression: bool = False

    @property
    def fits_btree(self) -> bool:
        """Whether a btree can hold its values."""
        return self.column.type_name not in _UNINDEXABLE and self.column.category not in "AG"


def _calls_functions(select: exp.Expr) -> bool:
    """Tell whether an output is a function's: an aggregate returns one row however many it reads."""
    return any(output.find(exp.Func) for output in select.expressions)


def _flattened(node: exp.Expr) -> Iterator[exp.Expr]:
    node = node.unnest()
    if isinstance(node, exp.And):
        yield from (part for side in node.flatten() for part in _flattened(side))
    else:
        yield node


def name_of(identifier: Any) -> str:
    """Return a name as the catalog has it: without quotes in lower case."""
    if isinstance(identifier, exp.Identifier) and identifier.args.get("quoted"):
        return str(identifier.this)
    return str(getattr(identifier, "name", identifier)).lower()
