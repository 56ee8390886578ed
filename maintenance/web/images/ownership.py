"""Owner, group, mode and attributes of a file, and whether another one in its place can have them."""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from maintenance.web.images.recode import LeftAlone, Reason

#: Access lists, and what programs note of a file. Labels of the security policy (security.*) are copied
#: where that allows it, and are its own matter.
_KEPT_ATTRIBUTES = ("user.", "system.")
#: The first bit of a set of capabilities (capabilities(7)).
_CAP_CHOWN = 1
_OWNER_LOST = "its owner or group could not be kept"


def require_replaceable(path: Path, before: os.stat_result) -> None:
    """Raise ``LeftAlone`` where it is plain, without reading a file, that we cannot put its like in its place.

    Costs a look at the folder. What passes may be refused all the same when it is tried: a read-only
    file system is none of the file's faults, and a server of NFS has rules of its own.
    """
    folder = path.parent
    is_open = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    if not is_open and not os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise LeftAlone(Reason.UNWRITABLE, os.strerror(errno.EACCES))
    # A new file may have the folder's group without our being a member (setgid).
    groups = {os.getegid(), *os.getgroups(), folder.stat().st_gid}
    is_ours = before.st_uid == os.geteuid() and before.st_gid in groups
    if not is_ours and not _may_give_away():
        raise LeftAlone(Reason.UNWRITABLE, _OWNER_LOST)


def take_after(handle: int, part: Path, path: Path, before: os.stat_result) -> None:
    """Give a new file the owner, group, mode and attributes of the old one, but not its times.

    What the folder gave it (a group, an access list) it loses. Raises ``LeftAlone`` where any of
    them cannot be kept.
    """
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(handle, before.st_uid, before.st_gid)
        except PermissionError:
            raise LeftAlone(Reason.UNWRITABLE, _OWNER_LOST) from None
    kept = _attributes(path)
    for name in _attributes(part).keys() - kept.keys():
        os.removexattr(part, name, follow_symlinks=False)
    shutil.copystat(path, part, follow_symlinks=False)
    # Whoever compares times, a browser or rsync, has to notice.
    os.utime(handle)
    # Both pass over in silence what they may not: a mode's setgid bit, an attribute.
    if os.fstat(handle).st_mode != before.st_mode or _attributes(part) != kept:
        raise LeftAlone(Reason.UNWRITABLE, "its mode or attributes could not be kept")


def _may_give_away() -> bool:
    """Whether the process may change the owner of files; where no /proc tells, root may."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return os.geteuid() == 0
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & _CAP_CHOWN)


def _attributes(path: Path) -> Mapping[str, bytes]:
    """Return the extended attributes that are to be kept; none where the file system has none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EINVAL}:
            raise
        return {}
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in names
        if name.startswith(_KEPT_ATTRIBUTES)
    }
