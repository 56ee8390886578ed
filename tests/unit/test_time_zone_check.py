"""A site without support for time zones is told at the start, before beat starts nothing there."""

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from maintenance.conf import configuration


def faults() -> list[str | None]:
    return [fault.id for fault in run_checks(tags=["maintenance"])]


@override_settings(USE_TZ=False)
def test_a_site_without_time_zones_is_refused_with_what_to_set() -> None:
    with pytest.raises(SystemCheckError) as refusal:
        call_command("check")

    said = str(refusal.value)
    assert "(maintenance.E011) USE_TZ is False: times of the ledger" in said
    assert "HINT: Set USE_TZ = True" in said


def test_a_site_with_time_zones_is_not() -> None:
    assert "maintenance.E011" not in faults()


@override_settings(USE_TZ=False, MAINTENANCE={"databses": {}})
def test_it_is_told_beside_faults_of_the_configuration() -> None:
    configuration.cache_clear()

    assert {"maintenance.E001", "maintenance.E011"} <= {*faults()}
