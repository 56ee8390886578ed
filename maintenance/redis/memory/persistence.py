"""Whether what the server holds would survive a restart, by INFO. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, seconds_in_words
from maintenance.redis.memory.limits import roles_in_words

#: Roles whose loss is felt, and by whom.
MUST_SURVIVE = {
    "broker": "queued work is lost",
    "ledger": "locks and records are lost",
    "sessions": "everybody is logged out",
    "streams": "every stream is empty until the site fills it again",
}


def diagnose_persistence(
    name: str,
    roles: Sequence[str],
    info: Mapping[str, Any],
    settings: Mapping[str, str],
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Judge the last save, the append-only file and the last fork.

    ``settings`` are those of CONFIG GET, empty where rights do not allow that.
    """
    yield from _saves(name, info)
    yield from _append_only_file(name, info)
    yield from _fork(name, info, thresholds)
    yield from _nothing_kept(name, roles, info, settings)


def _saves(name: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("rdb_last_bgsave_status", "ok") == "ok":
        return
    changes = int(info.get("rdb_changes_since_last_save", 0))
    yield Finding(
        code="redis-save-failed",
        severity=Severity.CRITICAL,
        subject=name,
        sentence=(
            f"The last save of {name} to disk failed; {counted(changes, 'change')} since the last"
            " good one would be lost, and by default the server refuses writes until one succeeds."
        ),
        evidence={
            "rdb_last_bgsave_status": info["rdb_last_bgsave_status"],
            "rdb_changes_since_last_save": changes,
        },
        advice=(
            "Read the server's log. Usually the disk is full, the folder is not writable, or the"
            " fork found no memory (vm.overcommit_memory = 1). Then BGSAVE."
        ),
        commands=("BGSAVE",),
    )


def _append_only_file(name: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    if not int(info.get("aof_enabled", 0)):
        return
    failed = {
        field: info[field]
        for field in ("aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(field, "ok") != "ok"
    }
    if not failed:
        return
    is_write = "aof_last_write_status" in failed
    yield Finding(
        code="redis-aof-failed",
        severity=Severity.CRITICAL if is_write else Severity.WARNING,
        subject=name,
        sentence=(
            f"{name} cannot write its append-only file, and refuses writes until it can."
            if is_write
            else f"The last rewrite of the append-only file of {name} failed: the file grows on."
        ),
        evidence=failed,
        advice="Read the server's log; usually the disk is full or the folder is not writable.",
        commands=() if is_write else ("BGREWRITEAOF",),
    )


def _fork(name: str, info: Mapping[str, Any], thresholds: Thresholds) -> Iterator[Finding]:
    fork_seconds = int(info.get("latest_fork_usec", 0)) / 1e6
    if fork_seconds <= thresholds.redis_fork_seconds:
        return
    yield Finding(
        code="redis-fork-slow",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"{name} stood still for {seconds_in_words(fork_seconds)} when it last forked to write"
            " its data to disk; every client waited."
        ),
        evidence={"fork_seconds": fork_seconds, "limit_seconds": thresholds.redis_fork_seconds},
        advice=(
            "Turn transparent huge pages off, save less often, or let a replica do the saving; less"
            " data forks faster."
        ),
    )


def _nothing_kept(
    name: str, roles: Sequence[str], info: Mapping[str, Any], settings: Mapping[str, str]
) -> Iterator[Finding]:
    lost = [role for role in MUST_SURVIVE if role in roles]
    if not lost or "save" not in settings:
        return
    if settings["save"] or int(info.get("aof_enabled", 0)):
        return
    yield Finding(
        code="redis-not-persistent",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"{name} holds {roles_in_words(lost)} and writes nothing to disk: after a restart"
            f" {', and '.join(MUST_SURVIVE[role] for role in lost)}."
        ),
        evidence={"save": settings["save"], "aof_enabled": False, "roles": list(roles)},
        advice=(
            "Turn on the append-only file, and make it permanent in the server's configuration."
        ),
        commands=("CONFIG SET appendonly yes",),
        undo=("CONFIG SET appendonly no",),
    )
