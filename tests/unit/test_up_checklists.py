"""Planning the runs of `up --once`, and comparing reports with what is planted."""

from datetime import UTC, datetime
from typing import Any

import pytest

from maintenance.conf import parse_configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, ReportDocument, RunFacts
from maintenance.models import Run, RunState
from maintenance.schedules import CHECKLISTS
from service.sample_site.truth import Fault, FaultKind, Truth
from service.up.checklists import plan_checklists
from service.up.once import outcome_sentence
from service.up.planted import Answer, compare, comparison_sentence, missing, names_fault
from service.up.progress_view import run_table
from service.up.verdicts import SHOWN_FINDINGS, verdict_lines

CONFIGURATION = parse_configuration(
    {
        "databases": {"a": {"alias": "default"}, "b": {"url": "env:B_URL"}},
        "redis": {"site": {"url": "redis://localhost"}},
        "streams": {"home": {"redis": "site", "pattern": "*-home", "max_length": 200}},
    }
)


class TestPlan:
    def test_every_line_is_run_on_every_target(self) -> None:
        (plan,) = plan_checklists(["weekly"], CONFIGURATION)
        bloat = [run.target for run in plan.runs if run.spec.short_name == "report_table_bloat"]
        assert bloat == ["a", "b"]
        assert {run.spec.short_name for run in plan.runs} == {s.task for s in CHECKLISTS["weekly"]}

    def test_what_an_earlier_checklist_runs_is_not_run_twice(self) -> None:
        daily, monthly = plan_checklists(["daily", "monthly"], CONFIGURATION)
        assert "review_slow_queries on a" in map(str, daily.runs)
        assert [(str(planned), earlier) for planned, earlier in monthly.repeats] == [
            ("review_slow_queries on a", "daily"),
            ("review_slow_queries on b", "daily"),
        ]

    def test_the_named_order_is_kept_and_a_name_counts_once(self) -> None:
        plans = plan_checklists(["monthly", "daily", "monthly"], CONFIGURATION)
        assert [plan.name for plan in plans] == ["monthly", "daily"]

    def test_a_task_without_targets_is_planned_so_that_its_run_says_so(self) -> None:
        (plan,) = plan_checklists(["daily"], parse_configuration({}))
        assert ("check_queue_depths", "") in [(r.spec.short_name, r.target) for r in plan.runs]


def finding(subject: str, severity: Severity = Severity.WARNING, sentence: str = "") -> Finding:
    return Finding("a-code", severity, subject, sentence or f"{subject} needs a look.")


def document(target: str = "site", **parts: Any) -> ReportDocument:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    facts = RunFacts(
        *("id", "maintenance.report_table_bloat", target, "", "cli", "", "succeeded", "", 1),
        *({}, moment, moment, moment),
    )
    return ReportDocument(facts, Report(title="Title", summary="Summary.", **parts))


class TestPlanted:
    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("public.library_user", True),
            ("public.library_user.library_user_pkey", False),
            ("public.library_user_old", False),
            ("other.public.library_user", False),
        ],
    )
    def test_a_name_counts_as_a_whole_only(self, said: str, expected: bool) -> None:
        fault = Fault(FaultKind.BLOATED_TABLE, "public.library_user", "")
        assert names_fault(document(findings=(finding(said),)), fault, CONFIGURATION) is expected

    def test_a_name_at_the_end_of_a_sentence_counts(self) -> None:
        fault = Fault(FaultKind.BLOATED_TABLE, "public.library_user", "")
        said = finding("site", sentence="Half is free in public.library_user.")
        assert names_fault(document(findings=(said,)), fault, CONFIGURATION)

    def test_a_stream_pattern_is_known_by_the_name_of_its_family(self) -> None:
        fault = Fault(FaultKind.OVER_LENGTH_STREAM, "*-home", "")
        action = Action("trim", "home", "ZREMRANGEBYRANK", "too long")
        trimmed = document(outcomes=(Outcome(action, Verdict.WORKED),))
        assert names_fault(trimmed, fault, CONFIGURATION)
        assert not names_fault(document(findings=(finding("events"),)), fault, CONFIGURATION)

    def test_a_cache_key_is_known_by_the_name_of_its_warmer(self) -> None:
        fault = Fault(FaultKind.COLD_CACHE_KEY, ":1:popular_books", "")
        said = document(findings=(finding("popular_books"),))
        assert names_fault(said, fault, CONFIGURATION)

    def test_faults_are_looked_for_in_the_reports_of_their_task(self) -> None:
        truth = Truth(
            seed=1,
            scale=1.0,
            as_of="2026-11-23",
            faults=(
                Fault(FaultKind.BLOATED_TABLE, "public.a", ""),
                Fault(FaultKind.BLOATED_TABLE, "public.b", ""),
                Fault(FaultKind.SLOW_QUERY, "SELECT", ""),
                Fault(FaultKind.ABANDONED_STREAM, "public.c", ""),
            ),
            decoys=(),
            relations=(),
        )
        run = Run(task="maintenance.report_table_bloat")
        found = compare(truth, [(run, document(findings=(finding("public.a"),)))], CONFIGURATION)
        assert [(c.fault.subject, c.answer) for c in found] == [
            ("public.a", Answer.NAMED),
            ("public.b", Answer.MISSING),
            ("SELECT", Answer.NOT_RUN),
            ("public.c", Answer.NOT_RUN),
        ]
        assert [c.fault.subject for c in missing(found)] == ["public.b"]
        assert comparison_sentence(found) == (
            "1 of 2 planted faults are named in a report;"
            " 2 had no task that was run, or are too small"
        )

    @pytest.mark.parametrize(
        ("mean_ms", "answer"), [(99.0, Answer.TOO_SMALL), (101.0, Answer.MISSING)]
    )
    def test_a_search_below_the_threshold_need_not_be_named(
        self, mean_ms: float, answer: Answer
    ) -> None:
        observed = {"mean_exec_time_ms": mean_ms}
        fault = Fault(FaultKind.SLOW_QUERY, "SELECT", "", observed=observed)
        truth = Truth(
            seed=1, scale=0.1, as_of="2026-11-23", faults=(fault,), decoys=(), relations=()
        )
        run = Run(task="maintenance.review_slow_queries")
        (found,) = compare(truth, [(run, document())], CONFIGURATION)
        assert found.answer is answer


class TestVerdicts:
    def test_a_report_is_told_in_a_line_and_its_serious_findings_under_it(self) -> None:
        run = Run(task="maintenance.vacuum_analyze", target="site", state=RunState.SUCCEEDED)
        findings = (finding("b"), finding("a", Severity.CRITICAL), finding("c", Severity.INFO))
        lines = [line.plain for line in verdict_lines([(run, document(findings=findings))])]
        assert lines == [
            "critical  vacuum_analyze  site  Summary.",
            "          - critical: a needs a look.",
            "          - warning: b needs a look.",
        ]

    def test_many_findings_are_cut_and_counted(self) -> None:
        run = Run(task="maintenance.vacuum_analyze", state=RunState.SUCCEEDED)
        findings = tuple(finding(f"t{number:02}") for number in range(SHOWN_FINDINGS + 3))
        lines = [line.plain for line in verdict_lines([(run, document(findings=findings))])]
        assert len(lines) == 1 + SHOWN_FINDINGS + 1
        assert lines[-1].strip() == "- and 3 more in the report"

    @pytest.mark.parametrize(
        ("state", "word"), [(RunState.FAILED, "FAILED"), (RunState.SKIPPED, "skipped")]
    )
    def test_a_run_that_did_not_succeed_is_told_by_its_state(
        self, state: RunState, word: str
    ) -> None:
        run = Run(task="maintenance.vacuum_analyze", state=state)
        (line,) = verdict_lines([(run, document())])
        assert line.plain.startswith(f"{word} ")

    def test_a_password_in_a_finding_is_not_printed(self) -> None:
        run = Run(task="maintenance.vacuum_analyze", state=RunState.SUCCEEDED)
        said = finding("a", sentence="No answer from redis://:s3cret@host/0.")
        lines = [line.plain for line in verdict_lines([(run, document(findings=(said,)))])]
        assert not any("s3cret" in line for line in lines)


class TestProgress:
    def test_the_table_has_a_row_for_each_run_and_counts_the_ended_ones(self) -> None:
        moment = datetime(2026, 11, 23, tzinfo=UTC)
        runs = [
            Run(task="maintenance.a", state=RunState.QUEUED),
            Run(
                task="maintenance.b",
                state=RunState.RUNNING,
                started_at=moment,
                progress_done=3,
                progress_total=10,
            ),
            Run(
                task="maintenance.c",
                state=RunState.SUCCEEDED,
                started_at=moment,
                finished_at=moment,
            ),
        ]
        table = run_table("daily", runs)
        assert table.row_count == 3
        assert table.title == "daily: 1 of 3 done"

    def test_the_last_sentence_counts_runs_by_state(self) -> None:
        runs = [Run(state=RunState.SUCCEEDED), Run(state=RunState.SKIPPED), Run(state="succeeded")]
        assert outcome_sentence(runs, 0).endswith(": 2 succeeded, 1 skipped")
