"""Units of systemd for the programs: ``deploy/systemd``. Hardened as far as their work allows."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

from deploy.programs import Program

ROOT = "/opt/maintenance"
STATE = "/var/lib/maintenance"
CONFIGURATION = "/etc/maintenance"
ADDRESS = "127.0.0.1"
TARGET = "maintenance.target"
MIGRATE = "maintenance-migrate.service"
BIN = f"{ROOT}/.venv/bin"
#: Of what uses the ledger. Ordering alone does not hold it back: a migration that has failed lets those behind
#: it go, and is tried again beside them. With this they are started anew until it has succeeded.
IS_MIGRATED = f"{BIN}/python manage.py migrate --check"
#: It starts in any case: its probe says what is wrong, and commands by hand take their environment from it.
STARTS_IN_ANY_CASE = "web"

#: systemd.exec(5). MemoryDenyWriteExecute is left out: libffi's callbacks, which libraries use, are code
#: that is made at run time. ProtectProc, too: tasks look at processes and their memory. A call that is
#: filtered is refused as one without the right to it; without a number the system kills the process.
SANDBOX = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0027
"""


def units(programs: Sequence[Program]) -> Mapping[str, str]:
    """Return the text of each unit by its file's name: one a program, and the target of all."""
    placed = [program.at(address=ADDRESS, state=STATE) for program in programs]
    return {
        **{unit_file(program): _service(program) for program in placed},
        TARGET: _target(placed),
    }


def unit_file(program: Program) -> str:
    """Return the name of its unit's file: a template (``@``) for one of which several run."""
    return f"maintenance-{program.name}{'@' if program.instances > 1 else ''}.service"


def _service(program: Program) -> str:
    return "\n".join(_lines(program)) + "\n"


def _lines(program: Program) -> Iterator[str]:
    yield "# Written by `make deployment-files` from deploy/programs.toml."
    yield from ("[Unit]", f"Description=Maintenance: {program.summary}")
    yield "Documentation=file:///opt/maintenance/docs/deployment.md"
    if program.once:
        yield from ("After=network-online.target", "Wants=network-online.target")
    else:
        yield from (f"After={MIGRATE}", f"Wants={MIGRATE}")
    # Restarted with the target. So is the migration, which stays active: another start would do nothing.
    yield f"PartOf={TARGET}"
    if not program.once:
        # A server that is away is waited for by the program: it is started anew without limit.
        yield "StartLimitIntervalSec=0"
    yield from ("", "[Service]")
    yield from _running(program)
    yield from ("User=maintenance", "Group=maintenance", f"WorkingDirectory={ROOT}")
    yield f"EnvironmentFile=-{CONFIGURATION}/environment"
    for name, value in program.environment.items():
        yield f"Environment={_escaped(f'{name}={value}')}"
    yield from _secrets(program)
    yield from (f"StateDirectory={STATE.rpartition('/')[2]}", "StateDirectoryMode=0750")
    yield from (f"MemoryMax={program.memory_megabytes}M", f"CPUQuota={round(program.cpus * 100)}%")
    yield "TasksMax=256"
    yield SANDBOX.rstrip()
    if not program.once:
        yield from ("", "[Install]", f"WantedBy={TARGET}")


def _running(program: Program) -> Iterator[str]:
    if program.once:
        yield from ("Type=oneshot", "RemainAfterExit=yes")
        # The database may come later than we do.
        yield from ("Restart=on-failure", "RestartSec=10")
    else:
        yield from ("Type=exec", "Restart=always", "RestartSec=2")
        # To the program alone: a worker ends its own processes, in order.
        yield "KillMode=mixed"
        if program.uses_django and program.name != STARTS_IN_ANY_CASE:
            yield f"ExecStartPre={IS_MIGRATED}"
    for command in program.commands:
        yield f"ExecStart={BIN}/{' '.join(_escaped(word) for word in command)}"
    yield f"TimeoutStopSec={program.stop_seconds}"


def _secrets(program: Program) -> Iterator[str]:
    for secret in program.secrets:
        yield f"LoadCredential={secret.name}:{CONFIGURATION}/secrets/{secret.name}"
        yield f"Environment={secret.variable}=%d/{secret.name}"


def _escaped(word: str) -> str:
    """Return a word as systemd reads it: ``%`` and ``$`` stand for themselves when doubled."""
    return shlex.quote(word).replace("%", "%%").replace("$", "$$")


def _target(programs: Sequence[Program]) -> str:
    wanted = " ".join(
        unit_file(program).replace("@.", f"@{number}.")
        for program in programs
        for number in range(1, program.instances + 1)
    )
    return (
        "# Written by `make deployment-files` from deploy/programs.toml.\n"
        "[Unit]\nDescription=Maintenance: the whole service\n"
        f"Wants={wanted}\n\n[Install]\nWantedBy=multi-user.target\n"
    )
