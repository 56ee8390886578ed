"""What spares the queries that the performance log shows: the guide's query checklist as advice.

Sources: the guide, "Optimize N+1 Queries" and "Query Optimization Checklist"; Django documentation,
"Database access optimization", and the notes of ``bulk_create()`` on what it leaves out.
"""

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, seconds_in_words
from maintenance.web.profile_tally import LoggedGroup
from maintenance.web.relations import Lookup, Relation
from maintenance.web.source_hints import COUNT_FOR_EXISTENCE

#: Objects of so many rows take tens of megabytes and stay until the last one is done with.
LARGE_ROWS = 5000

_NO_SIGNALS = (
    "Bulk operations call neither save() nor the signals of a save: check what hangs on them."
)


def repeated_finding(group: LoggedGroup) -> Finding:
    """Name a statement that one line repeats within a request, and what would spare it."""
    code, subject, remedy = _remedy(group)
    return Finding(
        code=code,
        severity=Severity.WARNING,
        subject=subject,
        sentence=(
            f"{_what(group)} at {group.at or 'a line outside of the application'}:"
            f" {counted(group.repeated_calls, 'query', 'queries')} and"
            f" {seconds_in_words(group.repeated_milliseconds / 1000)}"
            f" in {counted(group.repeated_profiles, 'run')} of {_names(group)},"
            f" up to {group.most_calls:,} in one."
        ),
        evidence=evidence_of(group),
        advice=(
            f"{remedy} It would spare about {counted(round(group.saved_calls), 'query', 'queries')}"
            f" and {seconds_in_words(group.saved_milliseconds / 1000)} in the same time."
        ),
    )


def _what(group: LoggedGroup) -> str:
    lookup = group.lookup
    model = group.model or group.table or "something"
    if lookup is None:
        verb = "is asked for" if group.command == "SELECT" else f"is written ({group.command})"
        return f"{model} {verb} in a loop"
    if lookup.relation is Relation.SAVE:
        return f"Objects of {lookup.model} are saved one at a time"
    if lookup.relation is Relation.DELETE:
        return f"Objects of {lookup.model} are deleted one at a time"
    if lookup.relation is Relation.DEFERRED:
        return f"The deferred field {lookup.model}.{lookup.field} is fetched one object at a time"
    return f"{lookup.model}.{lookup.field} is fetched one object at a time"


def _remedy(group: LoggedGroup) -> tuple[str, str, str]:
    """Return the code and subject of the finding, and the change to the code in a sentence."""
    lookup = group.lookup
    place = group.at or "unknown line"
    if lookup is None:
        return "repeated-query", f"{place} {group.digest[:8]}", _without_lookup(group)
    subject = f"{lookup.model}.{lookup.field}".rstrip(".") + f" at {place}"
    if lookup.relation in {Relation.SAVE, Relation.DELETE}:
        return "writes-in-loop", subject, _bulk(group, lookup)
    code = "deferred-field" if lookup.relation is Relation.DEFERRED else "n-plus-one"
    return code, subject, _fetched_with_its_objects(group, lookup)


def _fetched_with_its_objects(group: LoggedGroup, lookup: Lookup) -> str:
    """Say what to add to the query of the objects from which the relation is followed."""
    where = _queryset_in_words(group, lookup)
    if lookup.relation is Relation.FOREIGN_KEY:
        return f'Add .select_related("{lookup.field}") to {where}.'
    if lookup.relation is Relation.DEFERRED:
        return f'Take "{lookup.field}" out of defer(), or add it to only(), in {where}.'
    if group.statement.startswith("SELECT COUNT("):
        return f'Add .annotate(Count("{lookup.field}")) to {where}, or prefetch them where all are read.'
    if lookup.is_filtered:
        return (
            f'Add .prefetch_related(Prefetch("{lookup.field}", queryset=...)) to {where}, with the'
            " conditions and the order of this line in that queryset, and read the prefetched objects"
            " by .all()."
        )
    return f'Add .prefetch_related("{lookup.field}") to {where}.'


def _queryset_in_words(group: LoggedGroup, lookup: Lookup) -> str:
    if group.source:
        return f"the query of {lookup.model} that runs at {group.source}"
    return f"the query that brings the objects of {lookup.model}"


def _bulk(group: LoggedGroup, lookup: Lookup) -> str:
    model = lookup.model.rpartition(".")[2]
    if lookup.relation is Relation.DELETE:
        return f"Delete them at once: {model}.objects.filter(pk__in=...).delete()."
    if group.command == "INSERT":
        return f"Collect the objects and call {model}.objects.bulk_create(...). {_NO_SIGNALS}"
    return (
        f"Collect the objects and call {model}.objects.bulk_update(..., fields=[...]), or say the"
        f" change in one .update() with F(). {_NO_SIGNALS}"
    )


def _without_lookup(group: LoggedGroup) -> str:
    if group.command == "SELECT" and group.model:
        model = group.model.rpartition(".")[2]
        return (
            f"Ask once before the loop: {model}.objects.in_bulk(ids), or filter(...__in=ids); what is"
            " reached by a relation, by select_related() or prefetch_related()."
        )
    if group.command == "SELECT":
        return "Ask once before the loop, for all values at once (... = ANY(%s))."
    return f"Write all rows at once: bulk_create(), bulk_update(), one .update(). {_NO_SIGNALS}"


def existence_finding(group: LoggedGroup) -> Finding:
    """Name a ``count()`` that is only asked for whether there is anything."""
    return Finding(
        code="count-for-existence",
        severity=Severity.INFO,
        subject=group.at,
        sentence=(
            f"{group.model or group.table} is counted at {group.at} only to see whether there is"
            f" anything: {counted(group.calls, 'time')},"
            f" {seconds_in_words(group.milliseconds / 1000)} in all."
        ),
        evidence=evidence_of(group),
        advice="Use .exists(), which ends at the first row.",
    )


def large_result_finding(group: LoggedGroup) -> Finding:
    """Name a query whose objects are all in memory at once."""
    return Finding(
        code="large-result",
        severity=Severity.INFO,
        subject=f"{group.at or 'unknown line'} {group.digest[:8]}",
        sentence=(
            f"Up to {counted(group.most_rows, 'row')} of {group.model or group.table} are fetched at"
            f" once at {group.at or 'a line outside of the application'}."
        ),
        evidence=evidence_of(group),
        advice=(
            "Where they are worked off one after the other, use .iterator(chunk_size=2000), which"
            " keeps the server's cursor open and a chunk in memory; where they are shown, pages."
        ),
    )


def heavy_fields_finding(group: LoggedGroup) -> Finding:
    """Name fields without a limit of length that come with many rows."""
    fields = ", ".join(group.heavy_fields)
    quoted = ", ".join(f'"{name}"' for name in group.heavy_fields)
    return Finding(
        code="heavy-fields",
        severity=Severity.INFO,
        subject=f"{group.at or 'unknown line'} {group.digest[:8]}",
        sentence=(
            f"Up to {counted(group.most_rows, 'row')} of {group.model} come with {fields} at"
            f" {group.at or 'a line outside of the application'}, fields of any length."
        ),
        evidence=evidence_of(group),
        advice=(
            f"Where they are not used, leave them out: .defer({quoted}), or .only() with the fields"
            " that are."
        ),
    )


def other_findings(group: LoggedGroup) -> list[Finding]:
    """Return what the rest of the guide's checklist says about a statement."""
    found = []
    if group.hint == COUNT_FOR_EXISTENCE:
        found.append(existence_finding(group))
    if group.command == "SELECT" and group.most_rows >= LARGE_ROWS:
        found.append(large_result_finding(group))
    if group.heavy_fields:
        found.append(heavy_fields_finding(group))
    return found


def evidence_of(group: LoggedGroup) -> dict[str, object]:
    """Return the figures behind a finding."""
    return {
        "statement": group.statement,
        "at": group.at,
        "objects_from": group.source,
        "requests_and_tasks": dict(group.names),
        "profiles": group.profiles,
        "calls": group.calls,
        "most_calls": group.most_calls,
        "total_ms": round(group.milliseconds, 3),
        "slowest_ms": group.slowest_ms,
        "most_rows": group.most_rows,
        "saved_calls": round(group.saved_calls),
        "saved_ms": round(group.saved_milliseconds, 3),
    }


def _names(group: LoggedGroup) -> str:
    ordered = sorted(group.names, key=lambda name: (-group.names[name], name))
    more = f" and {len(ordered) - 2} more" if len(ordered) > 2 else ""
    return f"{', '.join(ordered[:2])}{more}"
