"""The migration that makes or drops an index of a table that a Django model owns.

An index that is dropped behind Django's back comes back with the next new database, and one that is
made there is unknown to it: so the model is named, and a migration is printed instead of SQL.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db.migrations import AlterField, RunSQL, SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from django.db.migrations.writer import OperationWriter
from django.db.models import CharField, Field, Index, Model, Q, TextField
from django.db.models import ForeignKey as ModelForeignKey

from maintenance.core.findings import Finding
from maintenance.postgres.django_models import (
    Declaration,
    Origin,
    Owners,
    declaration_of,
    fields_of,
    is_indexed,
    migrations_are_own,
)
from maintenance.postgres.indexes.advice.proposals import Proposal
from maintenance.postgres.indexes.catalog import ForeignKey, IndexState
from maintenance.postgres.indexes.foreign_keys import UnsupportedKey


def declared_indexes(indexes: Iterable[IndexState], owners: Owners) -> frozenset[int]:
    """Return the oids of the indexes that a model declares."""
    return frozenset(
        index.oid
        for index in indexes
        if index.table_oid in owners and _declaration(index, owners).origin is not Origin.UNDECLARED
    )


def _declaration(index: IndexState, owners: Owners) -> Declaration:
    table = owners[index.table_oid]
    is_plain = index.expressions is None and index.predicate is None
    columns = [table.columns[number] for number in index.columns if number > 0] if is_plain else ()
    return declaration_of(table.model, index.name, columns)


def unenforced_keys(owners: Owners) -> tuple[ForeignKey, ...]:
    """Return the foreign keys that Django alone knows (``db_constraint=False``).

    Its own deletes look up the referencing rows as the server does for those that it enforces.
    """
    found = []
    for oid, table in owners.items():
        numbers = {name: number for number, name in table.columns.items()}
        for field in table.model._meta.local_concrete_fields:
            if isinstance(field, ModelForeignKey) and not getattr(field, "db_constraint", True):
                name = f"{table.model._meta.label}.{field.name}"
                columns = (numbers[field.column],) if field.column in numbers else ()
                if columns:
                    names = (field.column,)
                    found.append(ForeignKey(0, None, name, oid, 0, columns, names, names))
    return tuple(found)


def drops_named_by_model(
    findings: Iterable[Finding], indexes: Iterable[IndexState], owners: Owners
) -> list[Finding]:
    """Name the model, and print a migration, in each finding that says to drop an index."""
    if not owners:
        return list(findings)
    owned = {index.qualified_name: index for index in indexes if index.table_oid in owners}
    return [
        _drop_named(finding, _declaration(owned[finding.subject], owners), owned[finding.subject])
        if finding.subject in owned
        else finding
        for finding in findings
    ]


def _drop_named(finding: Finding, declaration: Declaration, index: IndexState) -> Finding:
    named = replace(
        finding,
        sentence=f"{finding.sentence} {sentence_of(declaration)}",
        evidence={**finding.evidence, **_evidence(declaration.model, declaration.fields)},
    )
    if not finding.commands:
        return named
    if not migrations_are_own(declaration.model):
        return replace(named, advice=f"{finding.advice} {_foreign(declaration.model)}")
    operation, change = drop_operation(declaration, index.name, finding.commands, finding.undo)
    return _with_migration(named, declaration.model, operation, change, f"drop_{index.name}")


def sentence_of(declaration: Declaration) -> str:
    """Say where the index comes from."""
    label = declaration.model._meta.label
    match declaration.origin:
        case Origin.META:
            fields = ", ".join(declaration.fields) or "an expression"
            return f"The Django model {label} declares it in Meta.indexes ({fields})."
        case Origin.FIELD:
            return f"Django made it for db_index of {label}.{declaration.fields[0]}."
        case Origin.LIKE:
            return f"Django made it for LIKE searches on {label}.{declaration.fields[0]}."
        case Origin.UNDECLARED:
            return f"Its table belongs to the Django model {label}, which does not declare it."


def drop_operation(
    declaration: Declaration, name: str, drop: Sequence[str], create: Sequence[str]
) -> tuple[Operation, str]:
    """Return the operation that drops an index, and what to change in the model beside it."""
    model, field = declaration.model, declaration.field
    in_database = RunSQL(list(drop), reverse_sql=list(create))
    if declaration.index is not None:
        return (
            RemoveIndexConcurrently(model_name=str(model._meta.model_name), name=name),
            f'Remove the index "{name}" from Meta.indexes of {model._meta.label}.',
        )
    if declaration.origin is Origin.FIELD and field is not None:
        _, _, arguments, keywords = field.deconstruct()
        without = type(field)(*arguments, **{**keywords, "db_index": False})
        in_state = AlterField(str(model._meta.model_name), field.name, without)
        return (
            SeparateDatabaseAndState(
                database_operations=[in_database], state_operations=[in_state]
            ),
            f"Set db_index=False on {model._meta.label}.{field.name}.{_left_for_like(field)}",
        )
    if declaration.origin is Origin.LIKE:
        return (
            in_database,
            "Django makes it again in new databases and when the field's type changes.",
        )
    return in_database, "The model stays as it is."


def _left_for_like(field: "Field[Any, Any]") -> str:
    if not isinstance(field, CharField | TextField):
        return ""
    return " Its index for LIKE searches stays in the database, where Django no longer knows it."


def keys_named_by_model(
    findings: Iterable[Finding], keys: Sequence[UnsupportedKey], owners: Owners
) -> list[Finding]:
    """Name the model, and print a migration, in each finding that says to index a foreign key."""
    by_subject: Mapping[str, UnsupportedKey] = {
        missing.subject: missing for missing in keys if missing.table.oid in owners
    }
    return [
        _key_named(
            finding,
            by_subject[finding.subject],
            owners[by_subject[finding.subject].table.oid].model,
        )
        if finding.subject in by_subject
        else finding
        for finding in findings
    ]


def _key_named(finding: Finding, missing: UnsupportedKey, model: type[Model]) -> Finding:
    fields = fields_of(model, missing.key.column_names)
    label = model._meta.label
    if fields is None:
        return finding
    names = [field.name for field in fields]
    named = replace(
        finding,
        sentence=f"{finding.sentence} In Django it is {label}.{', '.join(names)}.",
        evidence={**finding.evidence, **_evidence(model, names)},
    )
    if not finding.commands:
        return named
    if not migrations_are_own(model):
        return replace(named, advice=f"{finding.advice} {_foreign(model)}")
    name = f"index_{'_'.join(names)}"
    if len(fields) == 1 and is_indexed(fields[0]):
        operation = RunSQL(list(finding.commands), reverse_sql=list(finding.undo))
        change = f"{label}.{names[0]} declares it (db_index): the database alone lacks it."
        return _with_migration(named, model, operation, change, name)
    if missing.table.is_partitioned:
        return named
    index = Index(fields=names)
    index.set_name_with_model(model)
    change = f'Add models.Index(fields={names}, name="{index.name}") to Meta.indexes of {label}.'
    add = AddIndexConcurrently(model_name=str(model._meta.model_name), index=index)
    return _with_migration(named, model, add, change, name)


def proposal_named_by_model(finding: Finding, proposal: Proposal, owners: Owners) -> Finding:
    """Name the model, and print a migration, in a finding that proposes an index."""
    owned = owners.get(proposal.table.oid)
    if owned is None:
        return finding
    model = owned.model
    by_text = {column.quoted: column.name for column in proposal.table.columns.values()}
    columns = [by_text[key.text] for key in proposal.shape.keys if key.text in by_text]
    names = [field.name for field in fields_of(model, columns) or ()]
    named = replace(
        finding,
        sentence=f"{finding.sentence} Its table belongs to the Django model {model._meta.label}.",
        evidence={**finding.evidence, **_evidence(model, names)},
    )
    if not migrations_are_own(model):
        return replace(named, advice=f"{finding.advice} {_foreign(model)}")
    name = f"index_{'_'.join(names) or model._meta.model_name}"
    index = index_of_model(proposal, model)
    if index is None:
        in_database = RunSQL(list(finding.commands), reverse_sql=list(finding.undo))
        change = (
            "The database alone gets it: the model declares it already, or cannot say the same."
        )
        return _with_migration(named, model, in_database, change, name)
    add = AddIndexConcurrently(model_name=str(model._meta.model_name), index=index)
    change = f'Add the same index, "{index.name}", to Meta.indexes of {model._meta.label}.'
    return _with_migration(named, model, add, change, name)


def index_of_model(proposal: Proposal, model: type[Model]) -> Index | None:
    """Return a proposed index as a model would declare it.

    ``None`` where fields cannot say it, and where the model declares it already.
    """
    by_text: dict[str, Field[Any, Any]] = {}
    for column in proposal.table.columns.values():
        found = fields_of(model, [column.name])
        if found:
            by_text[column.quoted] = found[0]
    keys = proposal.shape.keys
    is_plain = all(
        key.text in by_text and key.nulls_first == key.is_descending and not key.operator_class
        for key in keys
    )
    names = {text: field.name for text, field in by_text.items()}
    conditions = [_as_lookup(text, names) for text in proposal.shape.conditions]
    kind = {"btree": Index, "gin": GinIndex}.get(proposal.shape.method)
    if not is_plain or None in conditions or kind is None:
        return None
    fields = [f"{'-' if key.is_descending else ''}{by_text[key.text].name}" for key in keys]
    lookups = dict(lookup for lookup in conditions if lookup)
    # A condition needs a name; the one that Django would give follows from the fields.
    index = kind(fields=fields, name="pending", condition=Q(**lookups) if lookups else None)
    index.set_name_with_model(model)
    is_declared = any(index.name == other.name for other in model._meta.indexes) or (
        len(keys) == 1 and is_indexed(by_text[keys[0].text])
    )
    return None if is_declared else index


def _as_lookup(condition: str, fields: Mapping[str, str]) -> tuple[str, bool] | None:
    """Return a condition of a partial index as a lookup of the ORM."""
    for ending, is_null in ((" IS NULL", True), (" IS NOT NULL", False)):
        if condition.endswith(ending):
            field = fields.get(condition.removesuffix(ending))
            return (f"{field}__isnull", is_null) if field else None
    field = fields.get(condition.removeprefix("NOT "))
    return (field, not condition.startswith("NOT ")) if field else None


def _evidence(model: type[Model], fields: Sequence[str]) -> dict[str, object]:
    return {"model": model._meta.label, **({"fields": ", ".join(fields)} if fields else {})}


def _foreign(model: type[Model]) -> str:
    return (
        f"The migrations of {model._meta.label} are not this project's own, so that the statement"
        " is for the database alone."
    )


def _with_migration(
    finding: Finding, model: type[Model], operation: Operation, change: str, name: str
) -> Finding:
    app = model._meta.app_label
    return replace(
        finding,
        advice=f"{finding.advice} {change}",
        commands=(migration_text(app, name, operation),),
        undo=(f"python manage.py migrate {app} NAME_OF_THE_MIGRATION_BEFORE",),
    )


def migration_text(app: str, name: str, operation: Operation) -> str:
    """Return a migration as Python, without its dependencies, which makemigrations writes."""
    body, imports = OperationWriter(operation, indentation=2).serialize()
    file_name = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower())
    lines = [
        f"# python manage.py makemigrations {app} --empty --name {file_name}",
        "# Keep the dependencies that it writes.",
        *sorted({"from django.db import migrations", *imports}),
        "",
        "class Migration(migrations.Migration):",
        "    atomic = False  # CONCURRENTLY needs to be outside of a transaction",
        "    operations = [",
        body,
        "    ]",
    ]
    return "\n".join(lines)
