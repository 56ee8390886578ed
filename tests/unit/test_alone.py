"""Tests run side by side, but for those that are marked to be alone."""

from pathlib import Path

import pytest

from tests.alone import FOLDER_SETTING

ROOT = Path(__file__).resolve().parents[2]

#: Two tests that both wait until the other one has begun.
_MEETING = """
import os, time
def test_one():
    open("{name}", "w").close()
    give_up_at = time.monotonic() + 60
    while not (os.path.exists("first") and os.path.exists("second")):
        assert time.monotonic() < give_up_at
        time.sleep(0.001)
"""

#: Tests that note when they begin and end, and give others the processor between.
_NOTING = """
import os, time, pytest
{mark}
@pytest.mark.parametrize("number", range(20))
def test_one(number):
    note = os.open("notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(note, b"{name} begins\\n")
    time.sleep(0.001)
    os.write(note, b"{name} ends\\n")
"""


@pytest.fixture
def side_by_side(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv(FOLDER_SETTING)
    pytester.makeini(
        "[pytest]\nmarkers = alone\naddopts = -p xdist.plugin -p tests.alone -n 2 --dist loadfile"
    )
    return pytester


def test_two_tests_run_at_the_same_time(side_by_side: pytest.Pytester) -> None:
    modules = {f"test_{name}": _MEETING.format(name=name) for name in ("first", "second")}
    side_by_side.makepyfile(**modules)
    side_by_side.runpytest_subprocess().assert_outcomes(passed=2)


def test_one_that_is_alone_meets_no_other(side_by_side: pytest.Pytester) -> None:
    side_by_side.makepyfile(
        test_alone=_NOTING.format(name="alone", mark="@pytest.mark.alone"),
        test_other=_NOTING.format(name="other", mark=""),
    )
    side_by_side.runpytest_subprocess().assert_outcomes(passed=40)
    notes = (side_by_side.path / "notes").read_text().splitlines()
    begins = [number for number, note in enumerate(notes) if note == "alone begins"]
    assert len(begins) == 20
    assert {notes[number + 1] for number in begins} == {"alone ends"}
