"""A network address that goes away: what was sent to it is lost, and nobody is told."""

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres_clients import ask


def _free_network() -> str:
    """Return a network for documentation (RFC 5737) that this machine is not in: virtual machines may be in one."""
    for network in ("192.0.2", "198.51.100", "203.0.113"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect((f"{network}.254", 9))  # sends nothing
            except OSError:
                return network  # no way leads there
            if not asked.getsockname()[0].startswith(f"{network}."):
                return network
    raise RuntimeError("This machine is in each of the networks for documentation.")


#: An alias of the loopback interface, and its address.
_ALIAS, ADDRESS = f"lo:{os.getpid() % 10_000}", f"{_free_network()}.{1 + os.getpid() % 250}"
_SET_ADDRESS, _SET_FLAGS = 0x8916, 0x8914  # SIOCSIFADDR, SIOCSIFFLAGS
_NET_ADMIN = 12  # its bit among the capabilities of a process


def may_change_addresses() -> bool:
    """Tell whether this process may give the machine an address, as root mostly may."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _NET_ADMIN & 1)


def let_in(url: str) -> None:
    """Have a PostgreSQL server of this machine take connections from :data:`ADDRESS`."""
    rules = Path(ask(url, "SHOW hba_file")[0][0])
    with rules.open("a", encoding="utf-8") as file:
        file.write(f"host all all {ADDRESS}/32 scram-sha-256\n")
    ask(url, "SELECT pg_reload_conf()")


@contextmanager
def vanishing_address() -> Iterator[Callable[[], None]]:
    """Give the machine :data:`ADDRESS` for connections to leave from; yield what takes it away.

    Nothing answers then, and no connection is ended: a cable that was pulled.
    """
    name = _ALIAS.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def take_away() -> None:
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", name, 0))

        address = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(ADDRESS))
        fcntl.ioctl(control, _SET_ADDRESS, struct.pack("16s16s", name, address))
        is_there = True

        def once() -> None:
            nonlocal is_there
            if is_there:
                take_away()
                is_there = False

        try:
            yield once
        finally:
            once()
