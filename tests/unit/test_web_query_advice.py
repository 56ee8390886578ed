"""The guide's query checklist as advice: what no single request of a test site is large enough for."""

from maintenance.core.findings import Severity
from maintenance.web.profile_tally import LoggedGroup
from maintenance.web.query_advice import LARGE_ROWS, other_findings, repeated_finding
from maintenance.web.relations import Lookup, Relation


def group(**changes: object) -> LoggedGroup:
    """One statement from one line of code."""
    one = LoggedGroup(
        digest="d1d1d1d1d1",
        statement="SELECT title, description FROM library_book",
        command="SELECT",
        model="library.Book",
        table="library_book",
        database="default",
        at="library/views.py:7",
        hint="",
    )
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def test_many_rows_at_once_are_named_with_iterator() -> None:
    (finding,) = other_findings(group(most_rows=LARGE_ROWS))

    assert (finding.code, finding.severity) == ("large-result", Severity.INFO)
    assert (
        "5,000 rows of library.Book are fetched at once at library/views.py:7" in finding.sentence
    )
    assert ".iterator(chunk_size=2000)" in finding.advice
    assert other_findings(group(most_rows=LARGE_ROWS - 1)) == []
    assert other_findings(group(most_rows=LARGE_ROWS, command="UPDATE")) == []


def test_heavy_fields_are_named_with_defer_and_only() -> None:
    (finding,) = other_findings(group(most_rows=600, heavy_fields=("description", "notes")))

    assert finding.code == "heavy-fields"
    assert "description, notes at library/views.py:7" in finding.sentence
    assert '.defer("description", "notes"), or .only()' in finding.advice


def test_a_deferred_field_that_is_read_after_all_is_named() -> None:
    lookup = Lookup(Relation.DEFERRED, "library.Book", "description", "library_book", False)
    repeated = {"repeated_profiles": 1, "repeated_calls": 12, "most_calls": 12, "saved_calls": 11.0}

    finding = repeated_finding(group(lookup=lookup, names={"books": 1}, **repeated))

    assert (finding.code, finding.severity) == ("deferred-field", Severity.WARNING)
    assert "library.Book.description is fetched one object at a time" in finding.sentence
    assert "defer" in finding.advice
