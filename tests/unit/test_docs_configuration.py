"""What the guides show of configurations and compose files: keys, services and variables that exist."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.programs import read_programs
from maintenance.conf import parse_configuration
from maintenance.conf.references import missing_of
from service.secret_files import NAMES as SECRET_NAMES
from tests.code_blocks import blocks_of, code_blocks
from tests.compose_file import COMPOSE_FILE, ROOT, laid_over
from tests.unit.test_compose_attach import BOOKWYRM, addresses_of

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
SCHEMA = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
EXAMPLE = (ROOT / ".env.example").read_text()


def overrides() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield page and content of what is to be laid over docker-compose.yml."""
    for page in PAGES:
        for _language, text in code_blocks(page):
            if re.search(r"^services:", text, re.MULTILINE):
                yield page, yaml.safe_load(text)


@pytest.mark.parametrize(("page", "body"), list(overrides()))
def test_an_override_names_services_that_exist_and_makes_a_compose_file(
    page: str, body: dict[str, Any]
) -> None:
    base = yaml.safe_load(COMPOSE_FILE.read_text())
    assert body["services"].keys() <= base["services"].keys(), page
    whole = laid_over(base, body)
    jsonschema.validate(whole, SCHEMA)
    for service in body["services"].values():
        assert set(service.get("secrets", ())) <= whole["secrets"].keys()
        assert set(service.get("networks", ())) <= whole["networks"].keys()


@pytest.mark.parametrize(("page", "body"), list(overrides()))
def test_a_variable_of_an_override_is_read_and_names_a_secret_of_its_service(
    page: str, body: dict[str, Any]
) -> None:
    base = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    celery = (ROOT / "celeryconfig.py").read_text()
    for name, service in body["services"].items():
        secrets = {*base[name]["secrets"], *service.get("secrets", ())}
        for variable, value in service.get("environment", {}).items():
            is_read = f'"{variable}"' in celery or variable.removesuffix("_FILE") in SECRET_NAMES
            assert variable in base[name]["environment"] or is_read, (page, variable)
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in secrets, (page, variable)


def test_a_command_names_services_that_exist() -> None:
    services = set(yaml.safe_load(COMPOSE_FILE.read_text())["services"])
    named = set()
    for page in PAGES:
        text = (ROOT / page).read_text()
        for verb, rest in re.findall(
            r"docker compose(?: --profile \w+)? (exec|stop|up)\b([^`#|<>$\n]*)", text
        ):
            words = [word for word in rest.split() if not re.search(r"^-|=", word)]
            named |= set(words[:1] if verb == "exec" else words)
    assert {"web", "beat", "worker-low", "postgres"} < named
    assert named <= services


@pytest.mark.parametrize("page", ["docs/deployment.md", "docs/presets.md"])
def test_a_variable_of_env_that_a_guide_sets_is_one(page: str) -> None:
    known = set(re.findall(r"^#?(\w+)=", EXAMPLE, re.MULTILINE))
    blocks = [text for _language, text in code_blocks(page) if "COMPOSE_FILE=" in text]
    assert blocks
    for text in blocks:
        assert set(re.findall(r"^(\w+)=", text, re.MULTILINE)) <= known


def test_the_smaller_file_of_the_guide_has_all_that_the_preset_asks_for(tmp_path: Path) -> None:
    [line] = re.findall(
        r"^ *(grep .*\.env > secrets/site\.env)$",
        (ROOT / "docs/deployment.md").read_text(),
        re.MULTILINE,
    )
    site, here = tmp_path / "bookwyrm", tmp_path / "maintenance"
    site.mkdir()
    (here / "secrets").mkdir(parents=True)
    (site / ".env").write_text(BOOKWYRM)
    subprocess.run(["sh", "-c", line], cwd=here, check=True)
    kept = dict(word.split("=", 1) for word in (here / "secrets/site.env").read_text().splitlines())
    assert kept["MAX_STREAM_LENGTH"] == "150"
    assert not {"SECRET_KEY", "FLOWER_PASSWORD", "EMAIL_HOST_PASSWORD"} & kept.keys()
    assert not [name for url in addresses_of(kept) for name in missing_of(url, kept)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "toml")])
def test_the_configuration_that_a_guide_shows_is_accepted(page: str) -> None:
    whole = "\n".join(blocks_of(page, "toml"))
    assert parse_configuration(tomllib.loads(whole)) != parse_configuration({})


def test_the_programs_of_the_procfile_share_a_folder_of_state_that_is_there(tmp_path: Path) -> None:
    [block] = [text for _, text in code_blocks("docs/deployment.md") if "honcho -f" in text]
    setting_up, _, started = block.partition("honcho")
    assert started
    [flower] = re.findall(
        r"^flower: .* --db=(\S+)", (ROOT / "deploy/Procfile").read_text(), re.MULTILINE
    )
    asked = f'{setting_up}printf "%s\\n" "{flower}" "${{PATH%%:*}}"'
    done = subprocess.run(
        ["sh", "-e", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    state = tmp_path / ".state"
    assert done.stdout.splitlines() == [f"{state}/flower.db", f"{tmp_path}/.venv/bin"]
    assert state.is_dir()


def test_what_is_installed_for_systemd_can_be_read_by_the_user_of_the_programs() -> None:
    blocks = [
        text for _language, text in code_blocks("docs/deployment.md") if "pip install" in text
    ]
    assert len(blocks) == 2
    for text in blocks:
        assert text.lstrip().startswith("umask 022")


def test_guide_and_procfile_give_programs_as_long_to_end_as_the_table() -> None:
    longest = max(program.stop_seconds for program in read_programs())
    for page in ("docs/deployment.md", "deploy/Procfile"):
        text = (ROOT / page).read_text()
        assert f"OVERMIND_TIMEOUT={longest}" in text, page
        assert re.search(rf"foreman start .*-t {longest}\b", text), page


def test_prometheus_asks_another_machine_by_its_tls_proxy() -> None:
    shown = [
        yaml.safe_load(text)
        for _language, text in code_blocks("docs/metrics_and_api.md")
        if "scrape_configs:" in text
    ]
    jobs = [job for body in shown for job in body["scrape_configs"]]
    assert {job["job_name"] for job in jobs} == {"maintenance", "flower"}
    for job in jobs:
        for target in job["static_configs"][0]["targets"]:
            is_here = target.startswith("127.0.0.1:")
            assert is_here or (job["scheme"] == "https" and ":" not in target), job
