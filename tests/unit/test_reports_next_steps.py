"""What a reader does next: grouped, told in brief, and told apart by who has to act."""

from pathlib import Path

import maintenance
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.reports.composition import content_of
from maintenance.reports.formats import render_report
from maintenance.reports.next_steps import FOR_DEVELOPERS, Steps, Whose, in_brief, whose_step
from maintenance.reports.publication import of_report


def bloated(subject: str) -> Finding:
    return Finding(
        "table-bloat",
        Severity.CRITICAL,
        subject,
        f"{subject} is bloated.",
        advice="Rewrite it in a quiet hour.",
        commands=(f"VACUUM FULL {subject}",),
        undo=("-- nothing to undo",),
    )


SLOW = Finding("slow-query", Severity.WARNING, "query 1", "Slow.", advice="Look at its plan.")
FINE = Finding("autovacuum", Severity.OK, "default", "On.", advice="Leave it so.")


def steps(*findings: Finding) -> tuple[Steps, ...]:
    return content_of(of_report(Report("T", "S", findings=findings))).sections[0].steps


def test_an_operator_and_a_developer_get_lists_of_their_own() -> None:
    now, developer = steps(SLOW, FINE, *(bloated(f"t{number}") for number in range(5)))

    assert (now.title, developer.title) == ("You can do now", "Ask a developer")
    (step,) = now.steps
    assert step.words == "t0, t1, t2 and 2 more (table bloat): Rewrite it in a quiet hour."
    assert step.has_commands
    assert [place.subject for place in developer.steps[0].places] == ["query 1"]


def test_a_single_step_stands_with_its_finding_only() -> None:
    assert steps(bloated("t0"), bloated("t1"), FINE) == ()
    assert "You can do now Rewrite it" in " ".join(
        render_report(Report("T", "S", findings=(bloated("t0"),)), "html")
        .replace("<b>", "")
        .replace("</b>", "")
        .split()
    )


def test_a_migration_to_write_is_a_developers_work() -> None:
    migration = "# python manage.py makemigrations shop --empty --name drop_index\n..."

    assert whose_step("unused-index", (migration,)) is Whose.DEVELOPER
    assert whose_step("unused-index", ("DROP INDEX CONCURRENTLY x;",)) is Whose.OPERATOR


def test_every_kind_for_developers_is_one_that_a_subject_reports() -> None:
    root = Path(maintenance.__file__).parent
    sources = [p for p in root.rglob("*.py") if p.name != "next_steps.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)

    assert [code for code in sorted(FOR_DEVELOPERS) if f'"{code}"' not in text] == []


def test_long_advice_is_told_by_its_first_sentence_or_clause() -> None:
    rest = " and so on" * 30
    assert in_brief(f"Raise shared_buffers to 4 GB. Then{rest}") == "Raise shared_buffers to 4 GB."
    assert in_brief(f"Look at its plan first: it may{rest}") == "Look at its plan first …"
    assert len(in_brief("x" * 1000)) < 170
    assert in_brief("Short: as it is; all of it.") == "Short: as it is; all of it."
