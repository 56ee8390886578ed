"""docs/high_availability.md: its lines name what there is, and its files are taken by who reads them."""

import re
from pathlib import Path

import yaml

from maintenance.core.runs.ledger import LEASE_SECONDS
from service.secret_files import adopt_secret_files
from tests.code_blocks import blocks_of, code_blocks
from tests.compose_file import ATTACH_FILE, COMPOSE_FILE, ROOT, read_compose
from tests.nginx import assert_nginx_takes, needs_nginx

PAGE = "docs/high_availability.md"
BROKER, PROXIED = blocks_of(PAGE, "yaml")


def laid_over_both(text: str, folder: Path) -> dict[str, dict[str, str]]:
    """Return the environment of each service with the page's file as the last one."""
    last = folder / "last.yml"
    last.write_text(text)
    (folder / "site.env").write_text("CELERY_BROKER_URL=redis://the-sites/0\n")
    given = {"SITE_ENV_FILE": str(folder / "site.env"), "SITE_NETWORK": "site_main"}
    services = read_compose(given, "site", (COMPOSE_FILE, ATTACH_FILE, last))
    return {name: dict(service.environment) for name, service in services.items()}


def test_every_program_gets_the_brokers_address_from_the_secret(tmp_path: Path) -> None:
    address = "amqp://crew:a%2Fb@rabbit:5672/crew"
    (tmp_path / "broker_url").write_text(address + "\n")
    (tmp_path / "sentinel_password").write_text("of the sentinels\n")
    for name, environment in laid_over_both(BROKER, tmp_path).items():
        path = environment["CELERY_BROKER_URL_FILE"]
        assert path == "/run/secrets/broker_url"
        # What else is a file here has its own tests.
        adopted = {key: value for key, value in environment.items() if not key.endswith("_FILE")}
        for variable in ("CELERY_BROKER_URL_FILE", "CELERY_BROKER_SENTINEL_PASSWORD_FILE"):
            adopted[variable] = str(tmp_path / Path(environment[variable]).name)
        adopt_secret_files(adopted)
        assert adopted["CELERY_BROKER_SENTINEL_PASSWORD"] == "of the sentinels", name
        assert (adopted["CELERY_BROKER_URL"], adopted["REDIS_URL"]) == (address, ""), name


def test_a_second_address_of_web_stands_beside_loopback(tmp_path: Path) -> None:
    last = tmp_path / "last.yml"
    last.write_text(PROXIED)
    ports = read_compose({}, "site", (COMPOSE_FILE, last))["web"].body["ports"]
    assert ports == ["127.0.0.1:8000:8000", "10.0.0.1:8000:8000"]


def test_a_scaled_service_is_one() -> None:
    scaled = [
        name
        for _language, text in code_blocks(PAGE)
        for name in re.findall(r"--scale ([\w-]+)=\d", text)
    ]
    assert scaled == ["beat", "flower"]
    assert set(scaled) <= yaml.safe_load(COMPOSE_FILE.read_text())["services"].keys()


def test_a_lease_is_as_long_as_the_page_says() -> None:
    assert f"leases end within {LEASE_SECONDS:g} s" in " ".join((ROOT / PAGE).read_text().split())


@needs_nginx
def test_nginx_takes_the_proxys_part(tmp_path: Path) -> None:
    [upstream] = blocks_of(PAGE, "nginx")
    site = "server { listen 127.0.0.1:1; location / { proxy_pass http://maintenance; } }"
    assert_nginx_takes(f"{upstream}\n{site}", tmp_path)
