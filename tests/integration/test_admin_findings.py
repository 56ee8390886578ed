"""The list of findings: what is the case now, the worst first."""

from datetime import timedelta

from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.models import RunState, StoredFinding
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run, warning

FINDINGS = "/admin/maintenance/storedfinding/"


def finding(severity: Severity, sentence: str) -> Finding:
    return Finding("disk-space", severity, "/var", sentence)


def shown(client: Client, query: str = "") -> list[str]:
    return [row.sentence for row in client.get(f"{FINDINGS}{query}").context["cl"].result_list]


def test_by_default_only_the_newest_run_of_each_task_and_target_counts(operator: Client) -> None:
    finished_run(findings=[warning(sentence="old")], age=timedelta(days=7))
    finished_run(findings=[warning(sentence="new")], age=timedelta(days=1))
    finished_run("vacuum_analyze", "default", findings=[warning(sentence="other")])

    assert set(shown(operator)) == {"new", "other"}
    assert set(shown(operator, "?shown=all")) == {"old", "new", "other"}


def test_a_run_that_was_skipped_does_not_hide_what_the_last_look_found(operator: Client) -> None:
    finished_run(findings=[warning(sentence="still there")], age=timedelta(days=1))
    finished_run(state=RunState.SKIPPED, reason="another run was at work")

    assert shown(operator) == ["still there"]


def test_the_worst_stands_first(operator: Client) -> None:
    finished_run(
        findings=[finding(severity, severity.value) for severity in Severity],
    )

    assert shown(operator) == ["critical", "warning", "info", "ok"]
    assert shown(operator, "?severity=warning") == ["warning"]


def test_what_could_not_be_measured_is_called_unavailable(operator: Client) -> None:
    finished_run(findings=[unavailable("disk-space", "/secret", "used space", "a right")])

    text = operator.get(FINDINGS).content.decode()

    assert "maintenance-is-unavailable" in text
    assert "unavailable: used space needs a right" in text


def test_each_finding_leads_to_its_place_in_the_report(operator: Client) -> None:
    run = finished_run(findings=[warning()])
    row = StoredFinding.objects.get()
    place = f"/admin/maintenance/run/{run.id}/change/#finding-{row.fingerprint}"

    assert place in operator.get(FINDINGS).content.decode()
    assert f'id="finding-{row.fingerprint}"' in operator.get(place).content.decode()
    assert operator.get(f"{FINDINGS}{row.id}/change/").headers["Location"] == place


def test_a_finding_that_does_not_exist_is_not_found(operator: Client) -> None:
    assert operator.get(f"{FINDINGS}4711/change/").status_code == 404


def test_the_list_costs_the_same_few_queries_however_many_findings_there_are(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for task, target in (("check_disk_space", "local"), ("vacuum_analyze", "default")):
        finished_run(task, target, findings=[warning(subject=str(n)) for n in range(40)])

    with django_assert_max_num_queries(8):
        answer = operator.get(FINDINGS)

    assert answer.content.decode().count('class="field-severity_with_sign"') == 50


def test_the_newest_runs_are_found_by_the_index_that_holds_them_side_by_side(
    operator: Client,
) -> None:
    finished_run(findings=[warning()])
    with CaptureQueriesContext(connection) as queries:
        operator.get(FINDINGS)
    lateral = next(query["sql"] for query in queries if "LATERAL" in query["sql"])

    with transaction.atomic(), connection.cursor() as cursor:
        for other_way in (
            "seqscan",
            "bitmapscan",
            "sort",
            "incremental_sort",
        ):  # cheaper in a table of one row
            cursor.execute(f"SET LOCAL enable_{other_way} = off")
        cursor.execute(f"EXPLAIN {lateral}")
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "maintenance_run_history" in plan
    assert "Sort" not in plan


def test_findings_are_closed_without_the_permission(client_with: ClientFactory) -> None:
    answer = client_with("view_run").get(FINDINGS)

    assert answer.status_code == 403
    assert "You may not look at this page." in answer.content.decode()
