"""Severities, findings and their order."""

import json

from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import (
    Finding,
    Severity,
    by_seriousness,
    unavailable,
    worst_severity,
)
from tests.golden.report_strategies import findings


def finding(severity: Severity = Severity.WARNING, subject: str = "public.status") -> Finding:
    return Finding("table-bloat", severity, subject, "A sentence.")


def test_severities_are_ranked_from_nothing_to_do_up_to_act_now() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]
    assert min(Severity, key=lambda s: s.rank) is Severity.OK
    assert max(Severity, key=lambda s: s.rank) is Severity.CRITICAL


def test_without_findings_the_worst_severity_is_ok() -> None:
    assert worst_severity([]) is Severity.OK


@given(st.lists(findings, max_size=6))
def test_no_finding_is_worse_than_the_worst(some: list[Finding]) -> None:
    worst = worst_severity(some)

    assert all(each.severity.rank <= worst.rank for each in some)


@given(
    st.lists(findings, max_size=6).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    )
)
def test_the_order_of_findings_rests_on_nothing_but_the_findings(
    both: tuple[list[Finding], list[Finding]],
) -> None:
    some, shuffled = both
    keys = [(f.severity, f.code, f.subject) for f in by_seriousness(some)]

    assert keys == [(f.severity, f.code, f.subject) for f in by_seriousness(shuffled)]
    assert [k[0].rank for k in keys] == sorted((k[0].rank for k in keys), reverse=True)


@given(findings)
def test_a_finding_survives_json_text(original: Finding) -> None:
    assert Finding.from_json(json.loads(json.dumps(original.to_json()))) == original


def test_a_fingerprint_names_target_code_and_subject_and_nothing_else() -> None:
    mild, severe = finding(Severity.INFO), finding(Severity.CRITICAL)

    assert mild.fingerprint("site") == severe.fingerprint("site")
    assert mild.fingerprint("site") != mild.fingerprint("other")
    assert mild.fingerprint("site") != finding(subject="public.user").fingerprint("site")


def test_a_fingerprint_keeps_target_and_subject_apart() -> None:
    split_early = Finding("b", Severity.INFO, "c", "x").fingerprint("a")
    split_late = Finding("b", Severity.INFO, "", "x").fingerprint("ac")

    assert split_early != split_late
    assert len(split_early) == 16
    assert int(split_early, 16) >= 0


def test_an_unavailable_number_says_what_it_needs_and_counts_as_not_measured() -> None:
    missing = unavailable("statements", "site", "the slow queries", "pg_stat_statements")

    assert missing.sentence == "unavailable: the slow queries needs pg_stat_statements"
    assert missing.advice == "Provide pg_stat_statements, then run this again."
    assert not missing.measured
    assert missing.severity is Severity.INFO
