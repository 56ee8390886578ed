"""What Flower shows of a task: words instead of Python's notation, and where its run is."""

import runpy
from types import SimpleNamespace
from typing import Any

import flower.urls
import flower.views.monitor
import pytest
from flower.views import BaseHandler

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


def test_a_page_that_a_later_flower_adds_demands_the_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Later(BaseHandler):
        async def get(self) -> None:
            raise AssertionError("it answers a stranger")

    unasked = Later.get
    monkeypatch.setattr(flower.urls, "handlers", [*flower.urls.handlers, ("/later", Later)])
    runpy.run_path(flowerconfig.__file__)
    assert Later.get.__wrapped__ is unasked
    assert Later.post is BaseHandler.post


@pytest.mark.parametrize(
    ("module", "name"), [(flower.urls, "handlers"), (flower.views.monitor, "Healthcheck")]
)
def test_a_flower_with_other_names_is_not_started(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    monkeypatch.delattr(module, name)
    with pytest.raises(ImportError, match=name):
        runpy.run_path(flowerconfig.__file__)
