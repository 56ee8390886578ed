"""docker-compose.attach.yml, read: the workers of either profile get a site's variables and its network."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from maintenance.conf import parse_configuration
from maintenance.conf.presets import merged, preset_names
from maintenance.conf.references import missing_of, resolve_secret
from service.secret_files import NAMES
from tests.compose_file import (
    ATTACH_FILE,
    COMPOSE_FILE,
    ROOT,
    ComposeService,
    laid_over,
    read_compose,
)

#: As such a site's own file has it: names that it shares with the service, quotes, and remarks.
BOOKWYRM = """\
# SECURITY WARNING: keep the secret key used in production secret!
SECRET_KEY="7(2w1sedok=aznpq)ta1mc4i"
PGPORT=5432
POSTGRES_PASSWORD=p@ss:/w%rd
POSTGRES_USER=bookwyrm
POSTGRES_DB=books
POSTGRES_HOST=db
MAX_STREAM_LENGTH=150
REDIS_ACTIVITY_PASSWORD=redispassword345
REDIS_BROKER_PORT=6380
REDIS_BROKER_PASSWORD=redispassword123
FLOWER_PASSWORD=changeme
EMAIL_HOST=smtp.mailgun.org
EMAIL_HOST_PASSWORD=emailpassword123
"""
#: What Celery's own command and settings read from the environment, and sites have there.
CELERYS = {
    "BROKER_URL",
    "RESULT_BACKEND",
    *(f"CELERY_{name}" for name in ("BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND")),
}

Attached = Callable[[str], dict[str, ComposeService]]


@pytest.fixture(params=["site", "all"])
def attached(request: pytest.FixtureRequest, tmp_path: Path) -> Attached:
    """Read both files, for each profile, with this text as the site's own file."""

    def read(text: str) -> dict[str, ComposeService]:
        path = tmp_path / "site.env"
        path.write_text(text)
        given = {"SITE_ENV_FILE": str(path), "SITE_NETWORK": "bookwyrm_main"}
        return read_compose(given, request.param, (COMPOSE_FILE, ATTACH_FILE))

    return read


def names_that_are_read() -> set[str]:
    """Return the variables that workers read, but for those of a name that no site has."""
    read = set(NAMES)
    for path in (ROOT / "celeryconfig.py", *(ROOT / "service").glob("*.py")):
        if path.stem != "flower":  # which runs in a container of its own
            found = r'(?:environ(?:ment)?(?:\.get\(|\[)|_list\()\s*"(\w+)"'
            read |= set(re.findall(found, path.read_text()))
    return {name for name in read if not name.startswith("MAINTENANCE_")}


def addresses_of(environment: dict[str, str], preset: str = "bookwyrm") -> Iterator[str]:
    """Yield what the preset says of each server's address."""
    mapping = merged({"preset": preset}, environment).mapping
    for kind in ("databases", "redis", "brokers", "caches"):
        yield from (target["url"] for target in mapping.get(kind, {}).values())


def test_alone_and_laid_over_the_other_it_is_a_compose_file() -> None:
    schema = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
    base, over = (yaml.safe_load(path.read_text()) for path in (COMPOSE_FILE, ATTACH_FILE))
    jsonschema.validate(over, schema)
    jsonschema.validate(laid_over(base, over), schema)
    assert over["services"].keys() <= base["services"].keys()


def test_who_reads_a_site_has_its_variables_and_its_network(attached: Attached) -> None:
    services = attached(BOOKWYRM)
    workers = {name for name in services if name.startswith("worker-")}
    assert len(workers) == 3
    assert {name for name, one in services.items() if "site" in one.body["networks"]} == workers
    assert {name for name, one in services.items() if one.body.get("env_file")} == workers
    for name in workers:
        assert services[name].body["networks"] == ["default", "servers", "site"]
        assert services[name].environment["REMAP_SIGTERM"] == "SIGQUIT"  # what it had stays


def test_the_network_is_the_sites_own() -> None:
    over = yaml.safe_load(ATTACH_FILE.read_text())
    assert over["networks"]["site"]["external"] is True
    assert over["networks"]["site"]["name"].startswith("${SITE_NETWORK:?")


def test_a_preset_finds_its_addresses_in_a_worker_and_nowhere_else(attached: Attached) -> None:
    services = attached(BOOKWYRM)
    environment = dict(services["worker-low"].environment)
    resolved = {resolve_secret(url, environment) for url in addresses_of(environment)}
    assert resolved == {
        "postgres://bookwyrm:p%40ss%3A%2Fw%25rd@db:5432/books",
        "redis://:redispassword345@redis_activity:6379/0",
        "redis://:redispassword123@redis_broker:6380/0",
    }
    assert merged({"preset": "bookwyrm"}, environment).mapping["streams"]["home"]["max_length"] == (
        "150"
    )
    web = dict(services["web"].environment)
    missing = {name for url in addresses_of(web) for name in missing_of(url, web)}
    assert missing == {"POSTGRES_PASSWORD"}


@pytest.mark.parametrize("preset", preset_names())
def test_who_reads_no_site_can_be_started_without_its_variables(preset: str) -> None:
    assert parse_configuration({"preset": preset}).preset == preset


def test_nothing_that_the_service_itself_reads_is_taken_from_the_sites_file(
    attached: Attached,
) -> None:
    names = names_that_are_read() | CELERYS
    assert {"CELERY_BROKER_URL", "REDIS_URL", "EMAIL_HOST_PASSWORD", "DJANGO_SECRET_KEY"} < names
    services = attached("".join(f"{name}=theirs\n" for name in sorted(names)))
    for name in ("worker-high", "worker-medium", "worker-low"):
        taken = {key for key, value in services[name].environment.items() if value == "theirs"}
        assert not taken


@pytest.mark.parametrize("missing", ["SITE_ENV_FILE", "SITE_NETWORK"])
def test_what_has_to_be_named_is_asked_for(missing: str) -> None:
    given = {"SITE_ENV_FILE": "/dev/null", "SITE_NETWORK": "bookwyrm_main"} | {missing: ""}
    with pytest.raises(ValueError, match=f"{missing} is required: the "):
        read_compose(given, "site", (COMPOSE_FILE, ATTACH_FILE))
