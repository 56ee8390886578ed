"""The embedded servers after kills, leftovers and damage."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis

from service.embedded import orphan
from service.embedded.account import blocking_directory, server_account
from service.embedded.binaries import (
    locate_postgres,
    locate_valkey,
    reachable_postgres,
    reachable_valkey,
)
from service.embedded.errors import ServerStartError, StateFolderError
from service.embedded.ports import free_port
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.state import StateFolder
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually, is_gone
from tests.small_disks import small_disk

ROOT = Path(__file__).resolve().parents[2]
ORPHAN_DEADLINE_SECONDS = 5
only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals the death of a parent"
)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")


@dataclass
class ServerPair:
    """A running tests/faults/server_pair.py."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]

    @property
    def pids(self) -> list[int]:
        return list(self.facts["pids"])

    def kill(self) -> None:
        """kill -9 the supervisor, and wait until no server is left."""
        everything = [*self.pids, *(child for pid in self.pids for child in children(pid))]
        self.process.kill()
        self.process.wait()
        eventually(
            lambda: all(is_gone(pid) for pid in everything),
            ORPHAN_DEADLINE_SECONDS,
            f"the end of the servers and their children {everything}",
        )

    def stop(self) -> None:
        """End it in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def as_user(user: str, command: list[str]) -> list[str]:
    """The command under another account, whose right to pass closed folders is lent if needed.

    An interpreter below root's home is out of reach for every other user; lending one capability
    keeps the test honest otherwise: the effective user is not root, and owns only its own files.
    """
    account = pwd.getpwnam(user)
    arguments = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if not reachable_by(user):
        arguments += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", *arguments, "--", *command]


def reachable_by(user: str) -> bool:
    account = server_account()
    assert account is not None
    assert account.name == user
    interpreter = Path(sys.executable).resolve()
    return all(blocking_directory(path, account) is None for path in (interpreter, ROOT))


def start_pair(folder: Path, user: str | None = None) -> ServerPair:
    command = [sys.executable, "-m", "tests.faults.server_pair", str(folder)]
    process = subprocess.Popen(
        as_user(user, command) if user else command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate()[1])
    return ServerPair(process, json.loads(line))


@pytest.fixture
def folder(server_root: Path) -> Path:
    """A place for a state folder, not yet there."""
    return server_root / f"crash-{secrets.token_hex(4)}"


@pytest.fixture(params=["this user", "a normal user"])
def user(request: pytest.FixtureRequest, folder: Path) -> str | None:
    """None, for the user of the tests, or for root also the name of a normal user."""
    if request.param == "this user":
        return None
    account = server_account()
    if account is None:
        pytest.skip("the tests run as a normal user already")
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to become a normal user")
    if blocking_directory(locate_postgres().bindir, account) is not None:
        pytest.skip("the wheel's programs lie in a folder that is closed to normal users")
    folder.mkdir()
    os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    return account.name


@pytest.fixture
def pairs(folder: Path) -> Iterator[list[ServerPair]]:
    """What is listed here is killed after the test."""
    started: list[ServerPair] = []
    yield started
    for pair in started:
        with pair.process as process:  # closes its pipes, waits
            process.kill()


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


def synced(client: redis.Redis) -> None:
    """Return when what was written is in the append-only file, as on a machine that goes on."""
    assert client.waitaof(1, 0, 5000)[0] == 1


@only_linux
def test_no_server_outlives_a_killed_supervisor_and_the_next_start_has_the_data(
    folder: Path, user: str | None, pairs: list[ServerPair]
) -> None:
    pair = start_pair(folder, user)
    pairs.append(pair)
    if user is not None:
        assert pair.facts["uid"] != 0
    execute(pair.facts["postgres"], "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    client = redis.Redis.from_url(pair.facts["valkey"])
    client.set("kept", "yes")
    synced(client)
    # A query at work and an open transaction must not keep the server alive.
    busy = psycopg2.connect(pair.facts["postgres"])
    with busy.cursor() as cursor:
        cursor.execute("UPDATE kept SET n = 0")
    sleeper = psycopg2.connect(pair.facts["postgres"], async_=True)
    eventually(lambda: sleeper.poll() == psycopg2.extensions.POLL_OK, 10, "a second session")
    sleeper.cursor().execute("SELECT pg_sleep(600)")
    pair.kill()
    for connection in (busy, sleeper, client):
        connection.close()

    again = start_pair(folder, user)
    pairs.append(again)
    assert again.facts["postgres"] == pair.facts["postgres"]
    assert execute(again.facts["postgres"], "SELECT count(*), min(n) FROM kept") == [(1000, 1)]
    with redis.Redis.from_url(again.facts["valkey"]) as client:
        assert client.get("kept") == b"yes"
    again.stop()
    assert all(is_gone(pid) for pid in again.pids)


def test_a_second_start_on_the_same_folder_is_refused_and_harms_nothing(
    folder: Path, pairs: list[ServerPair]
) -> None:
    pair = start_pair(folder)
    pairs.append(pair)
    with pytest.raises(StateFolderError, match=rf"in use .* \(pid {pair.process.pid}\)"):
        StateFolder.open(folder)
    assert execute(pair.facts["postgres"], "SELECT 1") == [(1,)]
    pair.stop()


@only_linux
def test_a_kill_while_the_cluster_is_made_leaves_no_process_and_no_obstacle(
    folder: Path, pairs: list[ServerPair]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.server_pair", str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    with process:
        half_made = folder / "postgres" / "data.unfinished" / "global" / "pg_control"
        eventually(half_made.exists, 30, "initdb at work")
        process.kill()
    eventually(lambda: processes_naming(folder) == [], ORPHAN_DEADLINE_SECONDS, "the end of initdb")
    assert not (folder / "postgres" / "data").exists()
    pairs.append(start_pair(folder))
    assert execute(pairs[0].facts["postgres"], "SELECT 1") == [(1,)]
    pairs[0].stop()


def processes_naming(folder: Path) -> list[int]:
    """Every process with the folder in its argument list."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@only_linux
def test_a_ctrl_c_in_the_terminal_reaches_the_supervisor_alone(
    folder: Path, pairs: list[ServerPair]
) -> None:
    """The supervisor has work to finish before the servers may go."""
    pair = start_pair(folder)
    pairs.append(pair)
    sessions = {os.getsid(pid) for pid in pair.pids}
    assert os.getsid(pair.process.pid) not in sessions
    assert {os.getpgid(pid) for pid in pair.pids} == set(pair.pids)
    pair.stop()


@pytest.mark.parametrize("victim", ["postmaster", "backend"])
def test_postgres_recovers_from_a_kill(folder: Path, victim: str) -> None:
    with EmbeddedPostgres(folder, "p") as server:
        url, first_pid = server.url(), server.pid
        assert first_pid is not None
        execute(url, "CREATE TABLE kept AS SELECT generate_series(1, 50000) AS n")
        doomed = psycopg2.connect(url)
        killed = first_pid if victim == "postmaster" else doomed.get_backend_pid()
        os.kill(killed, signal.SIGKILL)
        if victim == "postmaster":
            eventually(lambda: not server.running, 5, "the end of the postmaster")
            server.start()  # at once: its backends may still be on their way out
            assert server.pid != first_pid
        else:
            assert server.pid == first_pid
        assert server.url() == url
        # The postmaster may still answer before it notices that a backend was killed.
        eventually(lambda: kept_rows(url) == 50000, 30, "recovery, with all that was committed")
        doomed.close()


def kept_rows(url: str) -> int | None:
    try:
        ((rows,),) = execute(url, "SELECT count(*) FROM kept")
    except psycopg2.OperationalError:
        return None
    return int(rows)


def test_valkey_recovers_from_a_kill_with_what_was_synced(folder: Path) -> None:
    with EmbeddedValkey(folder, "p") as server:
        url, pid = server.url(), server.pid
        assert pid is not None
        with redis.Redis.from_url(url) as client:
            client.rpush("queue", *range(1000))
            synced(client)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not server.running, 5, "the end of the server")
        server.start()
        assert server.url() == url
        with redis.Redis.from_url(url) as client:
            assert client.llen("queue") == 1000


def test_valkey_starts_on_a_file_whose_last_write_was_cut(folder: Path) -> None:
    with EmbeddedValkey(folder, "p") as server, redis.Redis.from_url(server.url()) as client:
        client.set("whole", "1")
        client.set("cut", "2")
    increments = next((server.data_dir / "appendonlydir").glob("*.incr.aof"))
    os.truncate(increments, increments.stat().st_size - 3)
    with server, redis.Redis.from_url(server.url()) as client:
        assert client.get("whole") == b"1"
        assert client.get("cut") is None


def test_valkey_with_a_damaged_file_says_so_with_its_log(folder: Path) -> None:
    with EmbeddedValkey(folder, "p") as server, redis.Redis.from_url(server.url()) as client:
        for number in range(100):
            client.set(f"key:{number}", "value")
    increments = next((server.data_dir / "appendonlydir").glob("*.incr.aof"))
    content = bytearray(increments.read_bytes())
    content[500:520] = b"\xff" * 20
    increments.write_bytes(content)
    with pytest.raises(ServerStartError, match="Bad file format reading the append only file"):
        server.start()
    assert not server.running


# -- servers that nobody holds any more, as a kill leaves them where the leash does not work


@pytest.fixture
def unleashed() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Servers started without a leash; whatever is left is killed after the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def run_as_account(command: list[str], log: Path, standard_input: bytes) -> subprocess.Popen[bytes]:
    """Start a server without a leash under the servers' account."""
    account = server_account()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd="/",
            user=account.uid if account else None,
            group=account.gid if account else None,
        )
    assert process.stdin is not None
    process.stdin.write(standard_input)
    process.stdin.close()
    return process


def test_an_orphaned_postgres_is_stopped_before_its_folder_is_used_again(
    folder: Path, unleashed: list[subprocess.Popen[bytes]]
) -> None:
    with EmbeddedPostgres(folder, "p") as server:
        pass
    programs = reachable_postgres(locate_postgres(), server_account(), folder / "programs")
    command = [str(programs.program("postgres")), "-D", str(server.data_dir), "-k", ""]
    left_over = run_as_account([*command, "-p", str(free_port())], server.log_path, b"")
    unleashed.append(left_over)
    pid_file = server.data_dir / "postmaster.pid"
    eventually(
        lambda: pid_file.exists() and "ready" in pid_file.read_text(), 30, "the orphan at work"
    )
    with server:
        assert left_over.wait(1) == 0  # an orderly end
        assert server.pid != left_over.pid
        assert execute(server.url(), "SELECT 1") == [(1,)]


def test_an_orphaned_valkey_is_stopped_before_its_folder_is_used_again(
    folder: Path, unleashed: list[subprocess.Popen[bytes]]
) -> None:
    with EmbeddedValkey(folder, "p") as server:
        pass
    port = free_port()
    configuration = server._invocation(Path("valkey-server"), port).standard_input
    program = reachable_valkey(locate_valkey(), server_account(), folder / "programs").server
    left_over = run_as_account([str(program), "-"], server.log_path, configuration)
    unleashed.append(left_over)
    with redis.Redis(port=port, password="p") as client:

        def orphan_answers() -> bool:
            with contextlib.suppress(redis.ConnectionError):
                return bool(client.ping())
            return False

        eventually(orphan_answers, 10, "the orphan at work")
        client.set("last", "words")
    with server, redis.Redis.from_url(server.url()) as client:
        assert left_over.wait(1) == 0
        assert client.get("last") == b"words"


def test_a_pid_file_whose_number_is_another_program_by_now_is_no_obstacle(folder: Path) -> None:
    """Small containers reuse process ids at once; PostgreSQL alone would refuse to start."""
    account = server_account()
    with EmbeddedPostgres(folder, "p") as server:
        execute(server.url(), "CREATE TABLE kept ()")
        pid_file = server.data_dir / "postmaster.pid"
        left_behind = pid_file.read_text().split("\n")
    bystander = subprocess.Popen(
        ["/bin/sleep", "60"], user=account.uid if account else None, start_new_session=True
    )
    try:
        left_behind[0] = str(bystander.pid)
        pid_file.write_text("\n".join(left_behind))
        if account is not None:
            os.chown(pid_file, account.uid, account.gid)
        with server:
            assert execute(server.url(), "SELECT count(*) FROM kept") == [(0,)]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_working_folder_is_read_with_lsof_where_there_is_no_proc(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("lsof") is None:
        pytest.skip("needs lsof")
    monkeypatch.setattr(orphan, "PROCESS_FOLDER", None)
    with EmbeddedValkey(folder, "p") as server:
        assert server.pid is not None
        assert orphan.serves_folder(server.pid, server.data_dir)
        assert not orphan.serves_folder(server.pid, server.state_dir)
        assert not orphan.serves_folder(os.getpid(), server.data_dir)


def test_a_possible_orphan_is_not_touched_where_nothing_can_tell_it_apart(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(folder, "p") as server:
        pass
    pid_file = server.data_dir / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(orphan, "PROCESS_FOLDER", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerStartError, match=f"Process {os.getpid()} may be a server"):
        server.start()
    assert pid_file.exists()


def test_a_damaged_pid_file_is_told_by_the_servers_log(folder: Path) -> None:
    with EmbeddedPostgres(folder, "p") as server:
        pass
    pid_file = server.data_dir / "postmaster.pid"
    pid_file.write_text("")
    with pytest.raises(ServerStartError, match=r'lock file "postmaster\.pid" is empty'):
        server.start()


# -- leftovers and damage


def test_a_cluster_cut_short_in_its_making_is_made_anew(folder: Path) -> None:
    half = folder / "data.unfinished"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (folder / "password.once").write_text("left behind")
    folder.chmod(0o711)
    with EmbeddedPostgres(folder, "p") as server:
        assert execute(server.url(), "SELECT 1") == [(1,)]
    assert not half.exists()
    assert not (folder / "password.once").exists()


def test_a_cluster_of_another_major_version_is_refused_untouched(folder: Path) -> None:
    with EmbeddedPostgres(folder, "p") as server:
        major = locate_postgres().major
    version_file = server.data_dir / "PG_VERSION"
    version_file.write_text("15\n")
    with pytest.raises(StateFolderError, match=rf"made by PostgreSQL 15, .* are {major}\."):
        server.start()
    version_file.write_text(f"{major}\n")
    with server:
        assert execute(server.url(), "SELECT 1") == [(1,)]


def test_a_folder_that_lost_its_cluster_is_refused(folder: Path) -> None:
    with EmbeddedPostgres(folder, "p") as server:
        pass
    (server.data_dir / "PG_VERSION").unlink()
    with pytest.raises(StateFolderError, match="holds no whole PostgreSQL cluster"):
        server.start()


@only_root
def test_a_small_full_disk_is_refused_before_anything_is_written(folder: Path) -> None:
    with small_disk(folder), ExitStack() as stack:
        server = EmbeddedPostgres(folder / "postgres", "p")
        stack.callback(server.stop)
        with pytest.raises(StateFolderError, match="Only 34 MB are free"):
            StateFolder.open(folder)
        assert list(folder.iterdir()) == []
        with pytest.raises(ServerStartError, match="No space left on device"):
            server.start()
        assert not server.data_dir.exists()


def test_servers_of_one_state_folder_have_their_own_folders_and_ports(
    folder: Path, pairs: list[ServerPair]
) -> None:
    pair = start_pair(folder)
    pairs.append(pair)
    assert pair.facts["postgres"].split("@")[1] != pair.facts["valkey"].split("@")[1]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "postgres",
        "reports",
        "valkey-broker",
    }
    pair.stop()
