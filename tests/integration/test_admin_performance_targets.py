"""Performance targets in the admin: proposals, the one click, and what holds afterwards."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from maintenance.conf import configuration, parse_configuration
from maintenance.core.runs.accepted_targets import configuration_in_force, with_targets
from maintenance.models import AcceptedTarget, Run, RunState, StoredReport, Trigger
from tests.admin_clients import ClientFactory

PAGE = "/admin/maintenance/acceptedtarget/"
PROPOSAL = {
    "setting": "response_p95_ms",
    "target": "",
    "name": "response time, p95",
    "current": 500.0,
    "value": 200.0,
    "current_in_words": "500 ms",
    "value_in_words": "200 ms",
    "kind": "tighter",
    "reason": "it held on all 90 measured days",
}
WANTED = {"setting": "response_p95_ms", "target": "", "value": "200.0"}


def propose(*proposals: dict[str, Any]) -> None:
    """Store what a review of the targets leaves behind."""
    now = timezone.now()
    run = Run.objects.create(
        task="maintenance.review_performance_targets",
        queue="low",
        trigger=Trigger.BEAT,
        state=RunState.SUCCEEDED,
        queued_at=now,
        finished_at=now,
    )
    StoredReport.objects.create(
        run=run, schema_version=1, body={}, state={"proposals": list(proposals)}, created_at=now
    )


def accepted(**given: Any) -> AcceptedTarget:
    return AcceptedTarget(
        **{
            "setting": "response_p95_ms",
            "target": "",
            "value": 200.0,
            "replaces": 500.0,
            "accepted_by": "ann",
            "accepted_at": timezone.now(),
            **given,
        }
    )


@pytest.fixture
def keeper(client_with: ClientFactory) -> Client:
    return client_with("view_acceptedtarget", "add_acceptedtarget", "delete_acceptedtarget")


def test_one_click_puts_a_proposal_in_force_and_is_logged(keeper: Client) -> None:
    propose(PROPOSAL)
    page = keeper.get(PAGE).content.decode()
    assert "it held on all 90 measured days" in page
    assert "Accept 200 ms" in page
    answer = keeper.post(f"{PAGE}accept/", WANTED, follow=True).content.decode()
    assert "The target for response time, p95 is 200 ms from now on." in answer
    assert "There is no open proposal" in answer
    assert "in force" in answer
    assert configuration_in_force().thresholds.response_p95_ms == 200
    assert configuration().thresholds.response_p95_ms == 500
    entry = LogEntry.objects.get()
    assert entry.user.username == "ann"
    assert "Accepted 200 ms in the place of 500 ms." in entry.change_message


def test_deleting_it_brings_the_configurations_target_back(keeper: Client) -> None:
    row = accepted()
    row.save()
    keeper.post(f"{PAGE}{row.pk}/delete/", {"post": "yes"})
    assert configuration_in_force().thresholds.response_p95_ms == 500


def test_it_takes_its_own_permission(client_with: ClientFactory) -> None:
    propose(PROPOSAL)
    onlooker = client_with("view_acceptedtarget")
    assert "Accept 200 ms" not in onlooker.get(PAGE).content.decode()
    answer = onlooker.post(f"{PAGE}accept/", WANTED)
    assert answer.status_code == 403
    assert "Can add performance target" in answer.content.decode()
    assert not AcceptedTarget.objects.exists()


def test_only_what_is_still_proposed_is_accepted_and_never_by_a_link(keeper: Client) -> None:
    propose(PROPOSAL)
    propose({**PROPOSAL, "value": 300.0})
    answer = keeper.post(f"{PAGE}accept/", WANTED, follow=True)
    assert "not open any more" in answer.content.decode()
    assert keeper.get(f"{PAGE}accept/", WANTED).status_code == 405
    assert not AcceptedTarget.objects.exists()


def test_a_proposal_for_a_target_that_has_changed_is_not_open(keeper: Client) -> None:
    propose({**PROPOSAL, "current": 400.0}, {**PROPOSAL, "setting": "gone"})
    assert "There is no open proposal" in keeper.get(PAGE).content.decode()


def test_a_target_is_not_typed(keeper: Client) -> None:
    assert keeper.get(f"{PAGE}add/").status_code == 403


@pytest.mark.parametrize(
    ("configured", "value"),
    [({}, 200), ({"response_p95_ms": 500}, 200), ({"response_p95_ms": 400}, 400)],
)
def test_a_file_that_was_edited_since_knows_better(
    configured: dict[str, float], value: float
) -> None:
    parsed = parse_configuration({"thresholds": configured})
    assert with_targets(parsed, [accepted()]).thresholds.response_p95_ms == value


def test_the_limit_of_a_queue_is_replaced_for_its_broker_alone() -> None:
    parsed = parse_configuration(
        {"brokers": {name: {"url": "redis://h/1", "queues": ["a"]} for name in ("jobs", "other")}}
    )
    row = accepted(setting="max_pending", target="jobs", value=250.0, replaces=1000.0)
    gone = accepted(setting="max_pending", target="away", value=1.0, replaces=1000.0)
    brokers = with_targets(parsed, [row, gone]).brokers
    assert (brokers["jobs"].max_pending, brokers["other"].max_pending) == (250, 1000)
    assert isinstance(brokers["jobs"].max_pending, int)
