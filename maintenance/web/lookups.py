"""What of the models a query was for: a relation that was followed, a field that was deferred.

The text of a query does not say which of two foreign keys to the same table was followed. Django's
own frames do, while the query runs: they hold the descriptor or the queryset that sent it.
"""

import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType
from typing import Any

from django.apps import apps
from django.db.models import BinaryField, JSONField, ManyToManyRel, Model, QuerySet, TextField
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)
from django.db.models.query_utils import DeferredAttribute

from maintenance.web.call_sites import (
    MAXIMUM_DEPTH,
    REMEMBERED_STATEMENTS,
    REMEMBERED_TEXT,
    foreign_files,
    is_application,
)
from maintenance.web.relations import Lookup, Relation


def _field(held: Any) -> Lookup:
    return _lookup(Relation.FOREIGN_KEY, held.field.model, held.field.name)


def _one_to_one(held: Any) -> Lookup:
    return _lookup(Relation.FOREIGN_KEY, held.related.model, held.related.get_accessor_name())


def _deferred(held: Any) -> Lookup:
    return _lookup(Relation.DEFERRED, held.field.model, held.field.name)


def _generic(held: Any) -> Lookup:
    return _lookup(Relation.GENERIC, held.model, held.name)


def _save(held: Any) -> Lookup:
    return _lookup(Relation.SAVE, getattr(held, "model", None) or type(held), "")


def _delete(held: Any) -> Lookup:
    return _lookup(Relation.DELETE, type(held), "")


#: What it means that one of these functions is on the stack, by its ``self``.
_MEANINGS: dict[CodeType, Callable[[Any], Lookup]] = {
    ForwardManyToOneDescriptor.__get__.__code__: _field,
    ReverseOneToOneDescriptor.__get__.__code__: _one_to_one,
    DeferredAttribute.__get__.__code__: _deferred,
    Model.save.__code__: _save,
    QuerySet.create.__code__: _save,
    Model.delete.__code__: _delete,
}
if apps.is_installed("django.contrib.contenttypes"):
    # Its models cannot be imported where it is not installed.
    from django.contrib.contenttypes.fields import GenericForeignKey

    _MEANINGS[GenericForeignKey.__get__.__code__] = _generic
# A name is compared at once; code is, by all that it is made of.
_NAMES = frozenset(code.co_name for code in _MEANINGS)
_QUERYSETS = QuerySet.get.__code__.co_filename


# Frames above the first one that is looked at, and what the one runs that told the most.
_told_at: dict[tuple[str, str, int], tuple[int, CodeType]] = {}


def lookup_of(asked: tuple[str, str, int], depth: int) -> Lookup | None:
    """Return what a query on the stack is for, from ``depth`` callers up; ``None`` for any other one.

    Looks at frames up to the application's own, by their code: nothing is called, and nothing of
    what the frames hold is kept. ``asked`` is the statement with the file and line that sent it: where
    it came the same way as the last time, the frame is looked at alone that told it then.
    """
    known = _told_at.get(asked)
    if known is not None:
        above, code = known
        try:
            frame = sys._getframe(depth + 1 + above)
        except ValueError:  # the stack is not as deep this time
            frame = None
        if frame is not None and frame.f_code is code:
            return _told_by(frame)
    return _looked_for(asked, sys._getframe(depth + 1))


def _looked_for(asked: tuple[str, str, int], frame: FrameType | None) -> Lookup | None:
    """Look at one frame after the other, and note which one told what the query is for."""
    telling: tuple[int, FrameType] | None = None
    foreign = foreign_files
    above = 0
    while frame is not None and above < MAXIMUM_DEPTH:
        code = frame.f_code
        file = code.co_filename
        if file not in foreign and is_application(file):
            break
        if code.co_name in _NAMES and code in _MEANINGS:
            telling = above, frame
            break
        if telling is None and file == _QUERYSETS and _queryset_of(frame) is not None:
            telling = above, frame
        frame = frame.f_back
        above += 1
    if telling is None:
        return None
    statement, _file, line = asked
    # Of what no line is known, calls of many lines would be taken for one.
    if line and len(statement) <= REMEMBERED_TEXT:
        if len(_told_at) >= REMEMBERED_STATEMENTS:
            _told_at.clear()
        _told_at[asked] = telling[0], telling[1].f_code
    return _told_by(telling[1])


def _told_by(frame: FrameType) -> Lookup | None:
    meaning = _MEANINGS.get(frame.f_code)
    if meaning is not None:
        return meaning(frame.f_locals["self"])
    queryset = _queryset_of(frame)
    return None if queryset is None else _queryset_lookup(queryset)


def _queryset_of(frame: FrameType) -> "QuerySet[Any] | None":
    held = frame.f_locals.get("self")
    queryset = held if isinstance(held, QuerySet) else getattr(held, "queryset", None)
    return queryset if isinstance(queryset, QuerySet) else None


def _lookup(
    relation: Relation, model: type[Model], field: str, *, is_filtered: bool = False
) -> Lookup:
    options = model._meta
    return Lookup(relation, options.label, field, options.db_table, is_filtered=is_filtered)


def _queryset_lookup(queryset: QuerySet[Any]) -> Lookup | None:
    """Return the relation that a manager of one object gave this queryset to follow."""
    instance = queryset._hints.get("instance")  # type: ignore[attr-defined]
    if not isinstance(instance, Model):
        return None
    for field in queryset._known_related_objects:  # type: ignore[attr-defined]
        if isinstance(instance, field.remote_field.model):
            accessor = field.remote_field.get_accessor_name()
            return _lookup(
                Relation.REVERSE,
                type(instance),
                accessor,
                is_filtered=_conditions(queryset) > 1 or _is_ordered(queryset),
            )
    tables = {getattr(t, "table_name", "") for t in queryset.query.alias_map.values()}
    for accessor, through, model in _many_to_many(type(instance)):
        if through in tables and issubclass(queryset.model, model):
            filtered = _conditions(queryset) > 1 or _is_ordered(queryset)
            return _lookup(Relation.MANY_TO_MANY, type(instance), accessor, is_filtered=filtered)
    return None


def _conditions(queryset: QuerySet[Any]) -> int:
    """Return how many conditions the query has; the relation itself is one of them."""
    return len(queryset.query.where.children)


def _is_ordered(queryset: QuerySet[Any]) -> bool:
    return bool(queryset.query.order_by)


@cache
def _many_to_many(model: type[Model]) -> tuple[tuple[str, str, type[Model]], ...]:
    """Return accessor, table between, and model behind, of every such field in both directions."""
    forward = [
        (field.name, field.m2m_db_table(), field.related_model)
        for field in model._meta.many_to_many
    ]
    backward = [
        (relation.get_accessor_name(), relation.field.m2m_db_table(), relation.related_model)
        for relation in model._meta.related_objects
        if isinstance(relation, ManyToManyRel)
    ]
    return tuple((name, table, other) for name, table, other in forward + backward if name)


@cache
def model_of_table(table: str) -> type[Model] | None:
    """Return the model that owns a table."""
    for model in apps.get_models(include_auto_created=True):
        if model._meta.db_table == table and not model._meta.proxy:
            return model
    return None


def label_of_table(table: str) -> str:
    """Return the label of the model that owns a table (``library.Book``), empty where none does."""
    model = model_of_table(table)
    return "" if model is None else model._meta.label


@cache
def heavy_columns(table: str) -> tuple[tuple[str, str], ...]:
    """Return names of the fields without a limit of their length, and their quoted columns."""
    model = model_of_table(table)
    if model is None:
        return ()
    return tuple(
        (field.name, f'"{table}"."{field.column}"')
        for field in model._meta.local_concrete_fields
        if isinstance(field, TextField | BinaryField | JSONField)
    )
