"""The state folder: what it keeps, and what it refuses in one sentence."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.embedded import state as state_module
from service.embedded.errors import StateFolderError
from service.embedded.state import (
    MARKER_FILE,
    MINIMUM_FREE_BYTES,
    STATE_SETTING,
    StateFolder,
    default_path,
)
from tests.unprivileged import without_root

HOLDER_SCRIPT = """
import sys
from pathlib import Path
from service.embedded.state import StateFolder
StateFolder.open(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(server_root: Path) -> Path:
    """A place for a state folder, not yet there."""
    return server_root / f"state-{os.urandom(4).hex()}"


@pytest.fixture(autouse=True)
def _no_state_setting_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATE_SETTING, raising=False)


def refusal(folder: Path) -> str:
    """The sentence with which the folder is refused."""
    with pytest.raises(StateFolderError) as caught:
        StateFolder.open(folder)
    return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_folder_is_created_with_its_parents_and_kept_private(folder: Path) -> None:
    former_umask = os.umask(0o077)
    try:
        with StateFolder.open(folder / "deep" / "down") as state:
            assert state.postgres == folder / "deep" / "down" / "postgres"
            assert state.valkey("broker") == folder / "deep" / "down" / "valkey-broker"
            assert state.reports.is_dir()
            expected = 0o711 if os.geteuid() == 0 else 0o700
            for path in (folder, folder / "deep", state.path):
                assert stat.S_IMODE(path.stat().st_mode) == expected
            assert stat.S_IMODE(state.reports.stat().st_mode) == 0o700
    finally:
        os.umask(former_umask)


def test_an_empty_folder_of_a_fresh_disk_is_taken(folder: Path) -> None:
    (folder / "lost+found").mkdir(parents=True)
    with StateFolder.open(folder) as state:
        assert (state.path / MARKER_FILE).exists()


def test_secrets_are_generated_once_and_survive(folder: Path) -> None:
    with StateFolder.open(folder) as state:
        first = [
            state.secrets.postgres_password,
            state.secrets.valkey_password,
            state.secrets.admin_password,
            state.secrets.flower_password,
            state.secrets.django_secret_key,
            state.secrets.get("api_token"),
        ]
        assert len(set(first)) == 6
        assert all(len(value) >= 32 and value.isalnum() for value in first)
        assert len(state.secrets.django_secret_key) >= 50
        assert stat.S_IMODE(state.secrets.path.stat().st_mode) == 0o600
        assert first[0] not in repr(state.secrets)
    with StateFolder.open(folder) as state:
        names = ["postgres", "valkey", "admin", "flower"]
        again = [state.secrets.get(f"{name}_password") for name in names]
        assert again == first[:4]
        assert state.secrets.django_secret_key == first[4]
        assert state.secrets.get("api_token") == first[5]


def test_secrets_restored_with_open_permissions_are_closed_again(folder: Path) -> None:
    with StateFolder.open(folder) as state:
        assert state.secrets.admin_password
    state.secrets.path.chmod(0o644)
    with StateFolder.open(folder) as state:
        assert stat.S_IMODE(state.secrets.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "Upper", "with space", "../escape", "9lives"])
def test_a_secret_needs_a_plain_name(folder: Path, name: str) -> None:
    with StateFolder.open(folder) as state, pytest.raises(ValueError, match="lower-case"):
        state.secrets.get(name)


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "-x"])
def test_a_server_folder_needs_a_plain_name(folder: Path, name: str) -> None:
    with StateFolder.open(folder) as state, pytest.raises(ValueError, match="lower-case"):
        state.valkey(name)


def test_a_folder_held_by_another_process_is_refused_with_its_pid(folder: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER_SCRIPT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        sentence = refusal(folder)
        holder.kill()
    assert f"{folder} is in use by another running instance (pid {holder.pid})" in sentence
    assert STATE_SETTING in sentence
    with StateFolder.open(folder):  # the kernel has let go of it with the process
        pass


def test_a_folder_opened_twice_in_one_process_is_refused(folder: Path) -> None:
    with StateFolder.open(folder):
        assert f"(pid {os.getpid()})" in refusal(folder)
    with StateFolder.open(folder):
        pass


def test_a_foreign_folder_is_refused_and_left_untouched(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    before = contents(folder)
    assert "is not empty and was not made by this program" in refusal(folder)
    assert contents(folder) == before


def test_another_programs_marker_is_refused_by_name(folder: Path) -> None:
    folder.mkdir()
    (folder / MARKER_FILE).write_text('{"application": "something-else", "format": 1}')
    assert "belongs to 'something-else'" in refusal(folder)


def test_a_folder_of_a_newer_version_is_refused_and_left_untouched(folder: Path) -> None:
    with StateFolder.open(folder):
        pass
    (folder / MARKER_FILE).write_text('{"application": "celery-maintenance", "format": 2}')
    before = contents(folder)
    sentence = refusal(folder)
    assert "was made by a newer version (format 2, this one reads 1)" in sentence
    assert "upgrade" in sentence
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"application": 1}', "\udcff\x00"])
def test_a_damaged_marker_is_refused(folder: Path, damage: str) -> None:
    with StateFolder.open(folder):
        pass
    (folder / MARKER_FILE).write_bytes(damage.encode(errors="surrogateescape"))
    assert f"{folder / MARKER_FILE} is damaged" in refusal(folder)


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 2, "secrets": {}}',
        '{"format": 1, "secrets": {"postgres_password": 5}}',
        '{"format": 1, "secrets": {"postgres_password": ""}}',
        "\udcff\x00",
    ],
)
def test_damaged_secrets_are_refused_without_being_shown_or_replaced(
    folder: Path, damage: str
) -> None:
    with StateFolder.open(folder) as state:
        password = state.secrets.postgres_password
        path = state.secrets.path
    content = damage.encode(errors="surrogateescape")
    path.write_bytes(content)
    sentence = refusal(folder)
    assert f"{path} cannot be read" in sentence
    assert "restore the file from a backup" in sentence
    assert password not in sentence
    assert path.read_bytes() == content


def test_half_of_the_secrets_file_is_not_shown(folder: Path) -> None:
    with StateFolder.open(folder) as state:
        password = state.secrets.postgres_password
        path = state.secrets.path
    path.write_text(path.read_text()[:-5])
    assert password not in refusal(folder)


def test_data_without_its_secrets_is_refused(folder: Path) -> None:
    with StateFolder.open(folder) as state:
        assert state.secrets.postgres_password
        (state.postgres / "data").mkdir(parents=True)
    state.secrets.path.unlink()
    assert f"{folder / 'secrets.json'} is missing" in refusal(folder)


def test_a_nearly_full_disk_is_refused_with_the_numbers(folder: Path) -> None:
    with pytest.raises(StateFolderError, match=r"Only 199 MB are free .* at least 200 MB"):
        StateFolder.open(folder, measure_free=lambda _: 199_000_000)
    with StateFolder.open(folder, measure_free=lambda _: MINIMUM_FREE_BYTES):
        pass


def test_a_file_in_the_folders_place_is_refused(folder: Path) -> None:
    folder.write_text("in the way")
    assert f"{folder} cannot be created" in refusal(folder)


def test_a_folder_closed_to_writing_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o555)

    def check() -> None:
        assert f"cannot read and write the state folder {folder}" in refusal(folder)

    without_root(check)


def test_a_folder_that_cannot_be_created_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o555)

    def check() -> None:
        assert "cannot be created (Permission denied)" in refusal(folder / "state")

    without_root(check)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
def test_another_users_folder_is_refused(folder: Path) -> None:
    with StateFolder.open(folder):
        pass
    os.chown(folder / MARKER_FILE, 4242, 4242)
    assert "belongs to the user with id 4242, not to 0" in refusal(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers under another account")
def test_a_folder_that_the_servers_account_cannot_reach_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    sentence = refusal(folder / "state")
    assert f"run as 'nobody', which cannot pass {folder} on the way to" in sentence


# -- the default place


def test_the_setting_names_the_place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(STATE_SETTING, str(folder))
    assert default_path() == folder
    with StateFolder.open() as state:
        assert state.path == folder


def test_the_project_keeps_its_state_in_itself(server_root: Path) -> None:
    assert default_path(server_root) == server_root / ".state"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers under another account")
def test_a_project_in_a_closed_home_keeps_its_state_outside(server_root: Path) -> None:
    homes = [server_root / name for name in ("home-one", "home-two")]
    shared = server_root / "shared"
    for home in homes:
        (home / "My Site").mkdir(parents=True)
        home.chmod(0o700)
    places = [default_path(home / "My Site", shared) for home in homes]
    assert {place.parent for place in places} == {shared}
    assert len(set(places)) == 2
    assert all(place.name.startswith("my-site-") for place in places)
    assert places[0] == default_path(homes[0] / "My Site", shared)
    with StateFolder.open(places[0]) as state:
        assert state.path == places[0]


def test_the_marker_says_what_the_folder_is(folder: Path) -> None:
    with StateFolder.open(folder):
        marker = json.loads((folder / MARKER_FILE).read_text())
    assert marker == {"application": state_module.APPLICATION, "format": state_module.FORMAT}
