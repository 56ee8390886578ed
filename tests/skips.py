"""Where every needed program is installed, a test that skips itself is a failure."""

import os
from collections.abc import Generator
from typing import Any

import pytest

FORBID_SETTING = "MAINTENANCE_FAIL_ON_SKIP"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure that repeats its reason, where the setting says so."""
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get(FORBID_SETTING) and report.skipped and not expected_failure:
        reason: Any = report.longrepr
        text = reason[2] if isinstance(reason, tuple) else str(reason)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where nothing may be: {text}"
    return report
