"""Plans, outcomes and their verdicts."""

import json

from hypothesis import given

from maintenance.core.plans import Action, Outcome, Verdict, planned
from tests.golden.report_strategies import outcomes


@given(outcomes)
def test_an_outcome_survives_json_text(original: Outcome) -> None:
    assert Outcome.from_json(json.loads(json.dumps(original.to_json()))) == original


def test_a_dry_run_turns_every_action_into_a_planned_outcome() -> None:
    actions = tuple(Action("vacuum", f"t{n}", f"VACUUM t{n}", "dead rows") for n in range(3))

    outcomes_of_dry_run = planned(actions)

    assert [outcome.action for outcome in outcomes_of_dry_run] == list(actions)
    assert {outcome.verdict for outcome in outcomes_of_dry_run} == {Verdict.PLANNED}
    assert all(not outcome.after for outcome in outcomes_of_dry_run)
