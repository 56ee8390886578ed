"""The leash: the command it becomes, the user it drops to, the parent it insists on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.embedded import leash
from service.embedded.leash import leashed
from tests.unprivileged import without_root

IGNORED_AND_BLOCKED = "/SigBlk|SigIgn/{print $2}"
PARENT_SCRIPT = """
import subprocess, sys
from service.embedded.leash import leashed
subprocess.Popen(leashed(["/bin/sh", "-c", "echo $$; exec sleep 60"], signal=sys.argv[1]))
sys.stdin.read()
"""


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)


def run_leash(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-I", "-S", leash.__file__, *arguments])


def test_the_command_replaces_the_leash_and_keeps_its_process_id() -> None:
    command = ["/bin/sh", "-c", 'echo "$$ $0 $1"', "argument zero", "with  spaces"]
    process = subprocess.Popen(
        leashed(command, signal=signal.SIGTERM), stdout=subprocess.PIPE, text=True
    )
    output, _ = process.communicate(timeout=30)
    assert output == f"{process.pid} argument zero with  spaces\n"
    assert process.returncode == 0


def test_the_command_gets_the_environment_and_its_own_exit_code() -> None:
    process = subprocess.run(
        leashed(["/bin/sh", "-c", 'exit "$WANTED"'], signal="SIGTERM"),
        env={"WANTED": "7"},
        timeout=30,
        check=False,
    )
    assert process.returncode == 7


def test_the_module_form_does_the_same() -> None:
    arguments = ["--parent", str(os.getpid()), "--signal", "SIGTERM", "--", "/bin/echo", "hello"]
    result = run([sys.executable, "-m", "service.embedded.leash", *arguments])
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_gives_up_every_right_before_the_command_runs() -> None:
    result = run(leashed(["/usr/bin/id"], signal=signal.SIGTERM, user="nobody"))
    assert result.stdout.startswith("uid=65534(nobody)")
    assert "root" not in result.stdout


def test_a_normal_user_cannot_become_another(capfd: pytest.CaptureFixture[str]) -> None:
    def check() -> None:
        given = ["--parent", str(os.getppid()), "--signal", "SIGTERM", "--user", "root"]
        assert leash.main([*given, "--", "/usr/bin/id"]) == leash.EXIT_NOT_PERMITTED

    without_root(check)
    assert capfd.readouterr().err.startswith("leash: cannot become user root:")


def test_a_user_that_does_not_exist_is_named() -> None:
    result = run(leashed(["/usr/bin/id"], signal=signal.SIGTERM, user="no-such-user"))
    assert result.returncode == leash.EXIT_NOT_PERMITTED
    assert "no-such-user" in result.stderr


def test_a_command_whose_parent_is_already_gone_is_not_run() -> None:
    result = run_leash("--parent", "1", "--signal", "SIGTERM", "--", "/bin/echo", "hello")
    assert result.returncode == leash.EXIT_PARENT_GONE
    assert result.stdout == ""
    assert result.stderr == "leash: the parent 1 is gone\n"


def test_a_command_that_does_not_exist_is_named() -> None:
    result = run(leashed(["/no/such/program"], signal=signal.SIGTERM))
    assert result.returncode == leash.EXIT_NOT_FOUND
    assert result.stderr == "leash: /no/such/program: No such file or directory\n"


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    result = run(leashed([str(plain)], signal=signal.SIGTERM))
    assert result.returncode == leash.EXIT_NOT_EXECUTABLE
    assert result.stderr == f"leash: {plain}: Permission denied\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--"],
        ["--parent", "x", "--signal", "SIGTERM", "--", "/bin/true"],
        ["--parent", "1", "--signal", "SIGNONE", "--", "/bin/true"],
        ["--parent", "1", "--signal", "--", "/bin/true"],
        ["--signal", "SIGTERM", "--", "/bin/true"],
        ["--parent", "1", "--signal", "SIGTERM", "--colour", "red", "--", "/bin/true"],
        ["--parent", "1", "--signal", "SIGTERM", "--"],
        ["--parent", "1", "--signal", "SIGTERM", "/bin/true"],
    ],
)
def test_a_wrong_use_shows_the_right_one(arguments: list[str]) -> None:
    result = run_leash(*arguments)
    assert result.returncode == leash.EXIT_USAGE
    assert result.stderr.startswith("leash: usage:")


def test_an_unknown_signal_is_refused_before_anything_starts() -> None:
    with pytest.raises(KeyError, match="SIGNONE"):
        leashed(["/bin/true"], signal="SIGNONE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_signals_ignored_or_blocked_by_the_parent_reach_the_command() -> None:
    """A shell ignores SIGINT for background jobs; a server that does so could not be stopped."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    former_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR1])
    try:
        result = run(
            leashed(["/usr/bin/awk", IGNORED_AND_BLOCKED, "/proc/self/status"], signal="SIGINT")
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former_mask)
        signal.signal(signal.SIGINT, former)
    blocked, ignored = (int(mask, 16) for mask in result.stdout.split())
    assert blocked == 0
    for wanted in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored & (1 << (wanted - 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
@pytest.mark.parametrize("death_signal", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_the_command_dies_with_its_parent(death_signal: str) -> None:
    # The test becomes the reaper of orphans for a moment, so that it learns how the child ended.
    become_reaper = "import ctypes; assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n"
    outer = f"""
{become_reaper}
import os, subprocess, sys
parent = subprocess.Popen(
    [sys.executable, "-c", {PARENT_SCRIPT!r}, {death_signal!r}],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
child_pid = int(parent.stdout.readline())
parent.kill()
parent.wait()
_, status = os.waitpid(child_pid, 0)
print(os.waitstatus_to_exitcode(status))
"""
    result = run([sys.executable, "-W", "ignore", "-c", outer])
    assert result.stderr == ""
    assert result.stdout == f"{-signal.Signals[death_signal]}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the children's CPU time")
def test_the_leash_costs_less_than_40_ms_of_processor_time() -> None:
    def cpu_seconds() -> float:
        process = subprocess.Popen(leashed(["/bin/true"], signal=signal.SIGTERM))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    assert min(cpu_seconds() for _ in range(5)) < 0.040
