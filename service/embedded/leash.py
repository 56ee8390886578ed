"""Run a command so that it dies with the process that started it.

`python leash.py --parent PID --signal SIGINT [--user nobody] -- command arguments...` gives up
root where a user is named, asks the kernel for a signal on the death of the parent
(prctl(2), PR_SET_PDEATHSIG), makes sure that the parent still lives, and becomes the command by
exec: the process id stays the same, and nothing of Python remains in memory.

The order matters. A change of credentials clears the request (prctl(2)), so the user goes first.
A parent that died before the request leaves nobody to be notified of, so the parent is looked at
last. Elsewhere than on Linux there is no such request, and a pid file checked at the next start
takes its place.

The kernel sends the signal when the THREAD that created the process ends, not only when its whole
process does. So leashed commands have to be started from the main thread.

Everything imported here is paid at each start of each process (about 15 ms with the interpreter
isolated from site-packages), so the module keeps to a few built-in modules.
"""

import ctypes
import os
import signal as signals
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
EXIT_USAGE = 64  # EX_USAGE, sysexits(3)
EXIT_PARENT_GONE = 75  # EX_TEMPFAIL
EXIT_NOT_PERMITTED = 77  # EX_NOPERM
EXIT_NOT_EXECUTABLE = 126  # as a shell answers
EXIT_NOT_FOUND = 127  # as a shell answers

USAGE = "leash: usage: leash.py --parent PID --signal NAME [--user NAME] -- COMMAND [ARGUMENT...]"


def leashed(
    command: list[str], *, signal: signals.Signals | str, user: str | None = None
) -> list[str]:
    """Give the argument list that runs `command` on a leash held by the calling process.

    `signal` is what the command receives when the calling process dies in any way, kill -9
    included. `user`, for root only, names the account the command runs under. The list is for
    subprocess.Popen in the main thread (see the module's text); no preexec_fn is needed, so other
    threads are safe.
    """
    arguments = ["--parent", str(os.getpid()), "--signal", signals.Signals[str_name(signal)].name]
    if user is not None:
        arguments += ["--user", user]
    # -I and -S: no site-packages, no PYTHON* variables, for a quick start. The command itself
    # still gets the whole environment.
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), *arguments, "--", *command]  # noqa: PTH100


def str_name(signal: signals.Signals | str) -> str:
    """The name of a signal, given as enum member or as name."""
    return signal.name if isinstance(signal, signals.Signals) else signal


def main(arguments: list[str]) -> int:
    """Become the command; return an exit code only where that fails."""
    try:
        split = arguments.index("--")
        names = arguments[:split:2]
        options = dict(zip(names, arguments[1:split:2], strict=True))
        command = arguments[split + 1 :]
        parent_pid = int(options.pop("--parent"))
        death_signal = signals.Signals[options.pop("--signal")]
        user = options.pop("--user", None)
    except (KeyError, ValueError):
        return complain(USAGE, EXIT_USAGE)
    if options or not command:
        return complain(USAGE, EXIT_USAGE)
    if user is not None:
        try:
            become(user)
        except (KeyError, OSError) as error:
            return complain(f"leash: cannot become user {user}: {error}", EXIT_NOT_PERMITTED)
    if sys.platform == "linux":
        ask_for_signal_on_parent_death(death_signal)
    if os.getppid() != parent_pid:
        return complain(f"leash: the parent {parent_pid} is gone", EXIT_PARENT_GONE)
    inherit_no_signal_state(death_signal)
    return execute(command)


def become(user: str) -> None:
    """Give up root for the named account and its primary group, for good."""
    import pwd  # noqa: PLC0415  only root needs it

    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def ask_for_signal_on_parent_death(signal: signals.Signals) -> None:
    """Have the kernel send `signal` to this process when its parent thread ends (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def inherit_no_signal_state(death_signal: signals.Signals) -> None:
    """Put back what the command would inherit: ignored signals and the signal mask.

    Python ignores SIGPIPE and SIGXFSZ; a shell ignores SIGINT for a background job; a parent may
    block signals. A command that ignores its death signal would stay.
    """
    for signal in (signals.SIGPIPE, signals.SIGXFSZ, death_signal):
        if signal != signals.SIGKILL:
            signals.signal(signal, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, [])


def execute(command: list[str]) -> int:
    """Replace this process by the command; return an exit code where that is impossible."""
    try:
        os.execvp(command[0], command)  # noqa: S606  no shell is wanted
    except FileNotFoundError as error:
        return complain(f"leash: {command[0]}: {error.strerror}", EXIT_NOT_FOUND)
    except OSError as error:
        return complain(f"leash: {command[0]}: {error.strerror}", EXIT_NOT_EXECUTABLE)


def complain(message: str, exit_code: int) -> int:
    """Say on standard error why the command was not run."""
    sys.stderr.write(message + "\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
