"""Doing a part of a test without root's rights, which no file system refuses anything."""

import os
import traceback
import warnings
from collections.abc import Callable

from service.embedded.account import server_account


def without_root(check: Callable[[], None]) -> None:
    """Call ``check`` as a normal user: at once where the tests run as one, else in a child.

    The child has everything imported already, so it needs to read nothing that is closed to it.
    Fails with the child's traceback.
    """
    account = server_account()
    if account is None:
        check()
        return
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads that a fork leaves behind; the child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        said = b""
        try:
            os.setgroups([])
            os.setgid(account.gid)
            os.setuid(account.uid)
            check()
        except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
            said = traceback.format_exc().encode()
        os.write(writing, said[-60_000:])
        os._exit(1 if said else 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert not said, said.decode()
