"""The sample site under `up` touches nothing of the operator's own service."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from maintenance.conf import parse_configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import SyncedSchedule
from service.configuration import load
from service.embedded.state import StateFolder
from service.up.demonstration import (
    claim_folder,
    folder_beside,
    forget_named_servers,
    refuse_other_schedules,
)
from service.up.errors import UpRefused
from service.up.preparation import sample_configuration
from tests.postgres_clients import ask
from tests.signing_keys import sign_for_oneself
from tests.up_process import manage

SAMPLE = parse_configuration(load(sample_configuration(), {}))
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def test_servers_and_folder_of_the_operator_stay_as_they_are(
    server_root: Path, make_database: Callable[[], str], redis_url: str
) -> None:
    database_url, state = make_database(), server_root / "operator"
    broker_file = server_root / "broker-url"
    broker_file.write_text(redis_url)

    result = manage(
        *("up", "--sample-site", "--scale", "0.05", "--once", "quarterly"),
        state=state,
        DATABASE_URL=database_url,
        DATABASE_PASSWORD="of-the-operator",
        REDIS_URL=redis_url,
        CELERY_BROKER_URL_FILE=str(broker_file),
        # Celery's configuration, and with it the broker, is read before anything else where these are set.
        **sign_for_oneself(server_root / "keys"),
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert (
        "the sample site has servers of its own; not used: DATABASE_URL, DATABASE_PASSWORD,"
        " REDIS_URL, CELERY_BROKER_URL, CELERY_BROKER_URL_FILE"
    ) in result.stdout
    assert ask(database_url, TABLES) == [(0,)]
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
    assert not state.exists()
    assert (server_root / "operator-demo" / "sample-site-truth.json").exists()


def test_a_folder_that_is_a_demonstration_s_already_is_its_own() -> None:
    assert folder_beside(Path("/srv/state")) == Path("/srv/state-demo")
    assert folder_beside(Path("/srv/state-demo")) == Path("/srv/state-demo")


def test_empty_variables_are_not_spoken_of() -> None:
    environment = {
        "DATABASE_URL": "",
        "REDIS_URL_FILE": "/run/url",
        "SITE_REDIS_URL": "r",
        "LANG": "C",
    }
    assert forget_named_servers(environment) == ["REDIS_URL_FILE", "SITE_REDIS_URL"]
    assert environment == {"LANG": "C"}


def test_a_folder_with_another_ledger_is_refused_and_one_cut_short_is_not(
    server_root: Path,
) -> None:
    with StateFolder.open(server_root / "claimed") as state:
        claim_folder(state)
        (state.postgres / "data").mkdir(parents=True)  # killed as the servers started
        claim_folder(state)
    with StateFolder.open(server_root / "used") as state:
        state.secrets.get("postgres_password")
        (state.postgres / "data").mkdir(parents=True)
        with pytest.raises(UpRefused, match="a service that is no demonstration"):
            claim_folder(state)
        assert not state.valkey("site").exists()


@pytest.mark.django_db
def test_a_ledger_with_schedules_of_another_service_is_refused() -> None:
    sync_schedules(SAMPLE)
    refuse_other_schedules(SAMPLE)

    sync_schedules(parse_configuration({"databases": {"shop": {"url": "postgres://h/shop"}}}))
    with pytest.raises(UpRefused, match=r"schedules of another service \(shop\)"):
        refuse_other_schedules(SAMPLE)
    assert SyncedSchedule.objects.filter(name__endswith=" on shop").exists()


@pytest.mark.django_db
def test_schedules_that_were_switched_off_do_not_count() -> None:
    sync_schedules(parse_configuration({"databases": {"shop": {"url": "postgres://h/shop"}}}))
    sync_schedules(SAMPLE)
    refuse_other_schedules(SAMPLE)
    assert SyncedSchedule.objects.filter(name__endswith=" on shop").exists()
