"""Which Django models own the tables of a target, and what in a model made an index."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import router
from django.db.models import Field, Index, Model
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.postgres.sql_files import query

#: Names that Django makes end in eight hexadecimal digits (BaseDatabaseSchemaEditor).
_MADE_BY_DJANGO = re.compile(r"_[0-9a-f]{8}(?P<like>_like)?$")

_PACKAGES = frozenset({"site-packages", "dist-packages"})


class Origin(StrEnum):
    """What in a model an index comes from."""

    META = "Meta.indexes"
    FIELD = "db_index"
    LIKE = "LIKE searches"
    UNDECLARED = "undeclared"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a model says of an index; ``field`` or ``index`` is what it comes from, if anything."""

    model: type[Model]
    origin: Origin
    field: "Field[object, object] | None" = None
    index: Index | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, as far as the model says."""
        if self.index is not None:
            return tuple(self.index.fields)
        return (self.field.name,) if self.field is not None else ()


@dataclass(frozen=True, slots=True)
class OwnedTable:
    """A table of a model; ``columns`` are the names of its columns by their numbers."""

    model: type[Model]
    columns: Mapping[int, str]


#: The owned tables of a target by their oids.
Owners = Mapping[int, OwnedTable]


def models_by_table(conn: Connection, target: DatabaseTarget) -> dict[int, OwnedTable]:
    """Return the model that owns each table, by the table's oid.

    Empty for a target that is no Django connection. Tables are found as the role of the target
    finds them: along its own search_path.
    """
    if not target.alias:
        return {}
    models = {
        model._meta.db_table: model
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy and router.allow_migrate_model(target.alias, model)
    }
    parameters = {"names": sorted(models), "exclude_schemas": list(target.exclude_schemas)}
    tables = {row["oid"]: row["name"] for row in query(conn, "tables_of_models", parameters)}
    columns: dict[int, dict[int, str]] = {oid: {} for oid in tables}
    for row in query(conn, "columns_by_number", {"oids": list(tables)}):
        columns[row["table_oid"]][row["number"]] = row["name"]
    return {oid: OwnedTable(models[name], columns[oid]) for oid, name in tables.items()}


def fields_of(model: type[Model], columns: Sequence[str]) -> list["Field[Any, Any]"] | None:
    """Return the fields of these columns; ``None`` where a column has none."""
    by_column = {field.column: field for field in model._meta.local_concrete_fields}
    found = [by_column.get(column) for column in columns]
    return None if None in found else [field for field in found if field is not None]


def is_indexed(field: "Field[Any, Any]") -> bool:
    """Tell whether the field has an index of its own: foreign keys do unless told otherwise."""
    return bool(getattr(field, "db_index", False))


def declaration_of(model: type[Model], name: str, columns: Sequence[str]) -> Declaration:
    """Find out what in ``model`` an index of this name on these columns comes from."""
    for index in model._meta.indexes:
        if index.name == name:
            return Declaration(model, Origin.META, index=index)
    made = _MADE_BY_DJANGO.search(name)
    fields = fields_of(model, columns)
    if made and fields and len(fields) == 1:
        (field,) = fields
        if made["like"] and (is_indexed(field) or field.unique):
            return Declaration(model, Origin.LIKE, field=field)
        if is_indexed(field) and not field.unique:
            return Declaration(model, Origin.FIELD, field=field)
    return Declaration(model, Origin.UNDECLARED)


def migrations_are_own(model: type[Model]) -> bool:
    """Tell whether the project can write migrations for the model.

    Not for the models of installed packages, whose migrations come with them, nor for tables that
    Django does not manage or makes by itself for a many-to-many field.
    """
    path = Path(apps.get_app_config(model._meta.app_label).path)
    return (
        bool(model._meta.managed)
        and not model._meta.auto_created
        and not _PACKAGES.intersection(path.parts)
    )
