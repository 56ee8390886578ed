"""Hypothesis strategies for documents: any text, any number, any shape that the types allow."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.plots import Bar, BarChart, Foretold, Line, Plot
from maintenance.core.reports import Report, ReportDocument, RunFacts, Sample, Table

#: What PostgreSQL and UTF-8 can hold; passwords are the business of the tests of redaction.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00:=@"), max_size=40)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
names = st.builds(
    "{}{}".format,
    st.sampled_from(["size", "bloat", "calls", "last_seen", "mean", "queryid"]),
    st.sampled_from(["", "_bytes", "_ratio", "_seconds", "_ms", "_at", "_bytes_per_second", "_id"]),
)
named_values = st.dictionaries(names | texts.filter(lambda t: "pwd" not in t), scalars, max_size=4)
# Hypothesis takes the bounds without a time zone and adds it to what it draws.
times = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001
    datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)

findings = st.builds(
    Finding,
    code=texts,
    severity=st.sampled_from(Severity),
    subject=texts,
    sentence=texts,
    evidence=named_values,
    advice=texts,
    commands=st.lists(texts, max_size=2).map(tuple),
    undo=st.lists(texts, max_size=2).map(tuple),
    runbook=texts,
    measured=st.booleans(),
)
outcomes = st.builds(
    Outcome,
    action=st.builds(
        Action,
        kind=texts,
        subject=texts,
        statement=texts,
        reason=texts,
        predicted=named_values,
        undo=texts,
    ),
    verdict=st.sampled_from(Verdict),
    sentence=texts,
    before=named_values,
    after=named_values,
    duration_seconds=st.floats(0, 1e6),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table whose rows may be too short: makers have faults."""
    columns = tuple(draw(st.lists(names | texts, max_size=5)))
    cells: st.SearchStrategy[Any] = values
    rows = draw(st.lists(st.lists(cells, max_size=len(columns)).map(tuple), max_size=5))
    return Table(draw(texts), columns, tuple(rows))


seconds = st.floats(0, 2e9)
plain_numbers = st.floats(-1e300, 1e300) | st.integers(-(10**18), 10**18)
points = st.lists(st.tuples(seconds, plain_numbers), max_size=4).map(lambda p: tuple(sorted(p)))
plots = st.builds(
    Plot,
    title=texts,
    metric=names,
    points=points,
    limit=st.none() | plain_numbers,
    name=texts,
    others=st.lists(st.builds(Line, texts, points), max_size=2).map(tuple),
    foretold=st.lists(
        st.builds(Foretold, seconds, plain_numbers, plain_numbers, plain_numbers), max_size=2
    ).map(tuple),
)
bar_charts = st.builds(
    BarChart,
    title=texts,
    metric=names,
    parts=st.lists(texts, min_size=1, max_size=3).map(tuple),
    bars=st.lists(
        st.builds(Bar, texts, st.lists(st.none() | plain_numbers, max_size=3).map(tuple)),
        max_size=3,
    ).map(tuple),
    stacked=st.booleans(),
    left_out=st.integers(0, 3),
)

reports = st.builds(
    Report,
    title=texts,
    summary=texts,
    findings=st.lists(findings, max_size=3).map(tuple),
    outcomes=st.lists(outcomes, max_size=3).map(tuple),
    tables=st.lists(tables(), max_size=2).map(tuple),
    facts=named_values,
    samples=st.lists(st.builds(Sample, metric=texts, value=numbers, subject=texts), max_size=2).map(
        tuple
    ),
    plots=st.lists(plots, max_size=2).map(tuple),
    bars=st.lists(bar_charts, max_size=2).map(tuple),
    state=st.just({}),
)


@st.composite
def runs(draw: st.DrawFn) -> RunFacts:
    """Draw the facts of a run in any state, also one that never started or ended."""
    queued_at = draw(times)
    started_at = draw(st.none() | st.just(queued_at + timedelta(seconds=draw(st.integers(0, 99)))))
    finished_at = started_at and draw(st.none() | st.just(started_at + timedelta(seconds=61)))
    return RunFacts(
        run_id=str(draw(st.uuids())),
        task=draw(texts),
        target=draw(texts),
        schedule=draw(texts),
        trigger=draw(st.sampled_from(["beat", "admin", "cli", "api"])),
        actor=draw(texts),
        state=draw(st.sampled_from(["queued", "running", "succeeded", "failed", "skipped"])),
        reason=draw(texts),
        attempt=draw(st.integers(1, 9)),
        options=draw(named_values),
        queued_at=queued_at,
        started_at=started_at,
        finished_at=finished_at,
    )


documents = st.builds(ReportDocument, runs(), reports)
