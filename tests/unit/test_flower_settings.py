"""What Flower shows of a task: words instead of Python's notation, and where its run is."""

from types import SimpleNamespace
from typing import Any

import pytest

import flowerconfig

RUN = "52bb589d-31af-4f7b-92c0-943103439cc1"


def shown(name: str = "maintenance.vacuum_analyze", **fields: Any) -> Any:
    given = {"name": name, "uuid": RUN, "args": "()", "kwargs": None, "result": None, **fields}
    return flowerconfig.format_task(SimpleNamespace(**given))


def test_target_and_options_stand_for_the_arguments() -> None:
    given = "{'target': 'site', 'options': {'dry_run': True, 'jobs': 2}}"
    assert shown(kwargs=given).args == "site, dry_run: True, jobs: 2"
    assert shown(kwargs=given).kwargs == given
    assert shown(kwargs="{'target': '', 'options': {}}").args == ""


def test_the_end_of_a_run_is_a_sentence_and_progress_stays_one() -> None:
    ended = "{'state': 'succeeded', 'severity': 'ok', 'summary': '5 of 81 tables.'}"
    assert shown(result=ended).result == "succeeded, ok: 5 of 81 tables."
    assert shown(result="vacuuming, 35 of 81 tables (43 %)").result.startswith("vacuuming, 35")


@pytest.mark.parametrize("text", ["{'target': 'si...", "", "__import__('os')", "[1]"])
def test_what_is_cut_off_or_is_no_value_stays_as_it_is(text: str) -> None:
    assert (shown(kwargs=text).args, shown(result=text).result) == ("()", text)


def test_its_run_is_named_where_the_admin_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flowerconfig, "_ADMIN_URL", "https://crew.example/admin/")
    page = f"The run: https://crew.example/admin/maintenance/run/{RUN}/change/"

    assert shown().result == page
    assert shown(result="none yet").result == f"none yet\n{page}"
    assert shown(name="site.send_mail").result is None
