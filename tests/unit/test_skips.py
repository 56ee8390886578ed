"""CI turns skips into failures."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def suite_with_a_skip(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    pytester.makepyfile(
        "import pytest\n\ndef test_absent():\n    pytest.skip('the program is missing')\n"
    )
    return pytester


def run(suite: pytest.Pytester) -> pytest.RunResult:
    return suite.runpytest_subprocess("-p", "tests.skips")


def test_a_skip_stays_a_skip_on_an_ordinary_machine(
    suite_with_a_skip: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAINTENANCE_FAIL_ON_SKIP", raising=False)
    run(suite_with_a_skip).assert_outcomes(skipped=1)


def test_a_skip_fails_where_everything_is_installed(
    suite_with_a_skip: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINTENANCE_FAIL_ON_SKIP", "1")
    result = run(suite_with_a_skip)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the program is missing*"])
