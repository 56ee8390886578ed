"""References that Django's models make and the server does not enforce.

A foreign key with ``db_constraint=False``, one whose constraint the database lacks, and generic
foreign keys. Only a project's own database has them: one that is configured by its ``alias``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import router
from django.db.models import CompositePrimaryKey, ForeignKey, Model
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class ModelTable:
    """A table of the database as ``sql/tables_of_models.sql`` finds it. Types by column name."""

    oid: int
    schema: str
    name: str
    qualified_name: str
    columns: Mapping[str, str]
    referencing_columns: frozenset[str]
    is_row_security_active: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "ModelTable":
        """Build from a row of the query."""
        return cls(
            **{
                **row,
                "columns": dict(row["columns"]),
                "referencing_columns": frozenset(row["referencing_columns"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a reference leads: a column of a table, for a generic key with its content type."""

    table: ModelTable
    column: str
    content_type: int | None = None


@dataclass(frozen=True, slots=True)
class ModelRelation:
    """One reference of a model. ``key_column`` orders the rows; ``label`` is app, model and field.

    ``is_declared_enforced`` says that the model expects a constraint.
    """

    label: str
    table: ModelTable
    column: str
    key_column: str
    destinations: tuple[Destination, ...]
    is_declared_enforced: bool = False
    content_type_column: str | None = None

    @property
    def qualified_column(self) -> str:
        """Schema, table and column; the name that findings have."""
        return f"{self.table.qualified_name}.{self.column}"


def unenforced_relations(conn: Connection, target: DatabaseTarget) -> list[ModelRelation]:
    """Return the references of this project's models that no constraint of the server keeps.

    Models whose table or columns do not exist (a migration waits) are left out, and so are those
    with a primary key of several columns.
    """
    if not target.alias:
        return []
    models = [model for model in _models(target.alias) if _has_simple_key(model)]
    names = sorted({model._meta.db_table for model in models})
    parameters = {"names": names, "exclude_schemas": list(target.exclude_schemas)}
    rows = query(conn, "tables_of_models", parameters)
    tables = {row["name"]: ModelTable.from_row(row) for row in rows}
    return [
        *_foreign_keys(models, tables),
        *_generic_keys(models, tables, _content_types(conn, tables)),
    ]


def _models(alias: str) -> Iterator[type[Model]]:
    """Return the models with a table here, proxies among them: they have a content type, too."""
    for model in apps.get_models(include_auto_created=True):
        if router.allow_migrate_model(alias, model):
            yield model


def _has_simple_key(model: type[Model]) -> bool:
    return not isinstance(model._meta.pk, CompositePrimaryKey)


def _foreign_keys(
    models: Sequence[type[Model]], tables: Mapping[str, ModelTable]
) -> Iterator[ModelRelation]:
    for model in models:
        table = tables.get(model._meta.db_table)
        for field in model._meta.local_concrete_fields:  # a proxy has none of its own
            if table is None or not isinstance(field, ForeignKey):
                continue
            referenced = tables.get(field.related_model._meta.db_table)
            if (
                referenced is None
                or field.column in table.referencing_columns
                or not {field.column, _key_of(model)} <= table.columns.keys()
            ):
                continue
            yield ModelRelation(
                label=f"{model._meta.label}.{field.name}",
                table=table,
                column=field.column,
                key_column=_key_of(model),
                destinations=(Destination(referenced, str(field.target_field.column)),),
                is_declared_enforced=field.db_constraint,  # type: ignore[attr-defined] # not in the stubs
            )


def _key_of(model: type[Model]) -> str:
    return str(model._meta.pk.column)


def _column(model: type[Model], field: str) -> str:
    return str(getattr(model._meta.get_field(field), "column"))  # noqa: B009 - stubs admit relations


def _content_types(conn: Connection, tables: Mapping[str, ModelTable]) -> Mapping[str, int]:
    """Return Django's number of each model, by its lower-case label."""
    table = tables.get("django_content_type")
    if table is None or not apps.is_installed("django.contrib.contenttypes"):
        return {}
    identifiers = {"schema": table.schema, "table": table.name}
    rows = query(conn, "content_types", identifiers=identifiers)
    return {row["label"]: row["id"] for row in rows}


def _generic_keys(
    models: Sequence[type[Model]],
    tables: Mapping[str, ModelTable],
    content_types: Mapping[str, int],
) -> Iterator[ModelRelation]:
    if not content_types:
        return
    from django.contrib.contenttypes.fields import GenericForeignKey  # noqa: PLC0415 - optional

    destinations = tuple(
        Destination(tables[model._meta.db_table], _key_of(model), content_types[label])
        for model in models
        if (label := model._meta.label_lower) in content_types and model._meta.db_table in tables
    )
    for model in models:
        table = tables.get(model._meta.db_table)
        for field in model._meta.private_fields:
            if table is None or model._meta.proxy or not isinstance(field, GenericForeignKey):
                continue
            yield ModelRelation(
                label=f"{model._meta.label}.{field.name}",
                table=table,
                column=_column(model, field.fk_field),
                key_column=_key_of(model),
                destinations=destinations,
                content_type_column=_column(model, field.ct_field),
            )
