"""What a person is told about each tree of waiting sessions: the root, those behind it, the way out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Table
from maintenance.core.wording import counted, listed, seconds_in_words
from maintenance.postgres.activity.backends import (
    PREPARED_TRANSACTION,
    ActivitySnapshot,
    Backend,
    by_pid,
)
from maintenance.postgres.activity.blocking import BlockingTree, Wait
from maintenance.postgres.activity.ending import ending_commands, loss_in_words
from maintenance.postgres.activity.locks import LockQueues

#: Shorter waits are daily life; from here on the server itself takes a look (``deadlock_timeout``,
#: PostgreSQL documentation, "Lock Management", default 1 s).
WAIT_WARNING_SECONDS = 1.0

#: Waiting sessions that are drawn in a finding: more fit on no screen, and the table has all.
DRAWN_WAITS = 50


@dataclass(frozen=True, slots=True)
class _Scene:
    """A snapshot as the findings look at it."""

    backends: Mapping[int, Backend]
    blocked_by: Mapping[int, tuple[int, ...]]
    queues: LockQueues

    @classmethod
    def of(cls, snapshot: ActivitySnapshot) -> "_Scene":
        backends = by_pid(snapshot.backends)
        blocked_by = {pid: backend.blocked_by for pid, backend in backends.items()}
        return cls(backends, blocked_by, LockQueues(snapshot.locks))

    def is_queued_only(self, pid: int) -> bool:
        """Whether everybody before it only stands in the queue: nobody there holds the lock."""
        blockers = self.blocked_by.get(pid, ())
        return bool(blockers) and all(self.queues.is_queued_only(pid, b) for b in blockers)

    def reason(self, wait: Wait) -> str:
        """Say why a session waits for the one above it."""
        if not wait.depth:
            return ""
        is_queued = self.queues.is_queued_only(wait.pid, wait.blocker_pid)
        return "queued ahead" if is_queued else "holds the lock"

    def queue_head(self, tree: BlockingTree) -> tuple[Backend | None, int]:
        """Return the waiting session that holds up most others by its place alone, and how many."""
        queued = [wait.pid for wait in tree.waits if self.is_queued_only(wait.pid)]
        # Whoever is behind it and queued only goes on as soon as it is gone and nobody else stays.
        ahead = Counter(self.blocked_by[pid][0] for pid in queued if len(self.blocked_by[pid]) == 1)
        if not ahead:
            return None, 0
        pid, count = max(ahead.items(), key=lambda item: (item[1], -item[0]))
        return self.backends.get(pid), count

    def prepared(self, tree: BlockingTree) -> list[str]:
        """Return the prepared transactions at the root of a tree."""
        found = (self.queues.prepared_before(w.pid) for w in tree.waits if w.depth == 1)
        return list(dict.fromkeys(gid for gids in found for gid in gids))


def diagnose_blocking(
    trees: Iterable[BlockingTree], snapshot: ActivitySnapshot, thresholds: Thresholds
) -> Iterator[Finding]:
    """Judge each tree by its longest wait; one finding names its root and draws who is behind it."""
    scene = _Scene.of(snapshot)
    for tree in trees:
        longest = longest_wait_seconds([tree], scene.backends)
        yield Finding(
            code="blocking",
            severity=_severity(longest, thresholds),
            subject=_subject(tree.root_pid),
            sentence=_sentence(tree, scene, longest),
            evidence={
                "waiting_sessions": len(tree.waits),
                "longest_wait_seconds": longest,
                "deepest": max(wait.depth for wait in tree.waits),
                "tree": _drawn(tree, scene),
            },
            advice=_advice(tree, scene),
            commands=_commands(tree, scene),
        )


def longest_wait_seconds(trees: Iterable[BlockingTree], backends: Mapping[int, Backend]) -> float:
    """Return the longest wait in the trees; a wait that has only begun counts as none."""
    waited = (
        backends[wait.pid].waited_seconds
        for tree in trees
        for wait in tree.waits
        if wait.pid in backends
    )
    return max((seconds for seconds in waited if seconds is not None), default=0.0)


def _severity(longest_seconds: float, thresholds: Thresholds) -> Severity:
    if longest_seconds >= thresholds.long_running_seconds:
        return Severity.CRITICAL
    return Severity.WARNING if longest_seconds >= WAIT_WARNING_SECONDS else Severity.INFO


def _subject(pid: int) -> str:
    return "prepared transaction" if pid == PREPARED_TRANSACTION else f"process {pid}"


def _in_words(tree: BlockingTree, scene: _Scene) -> str:
    pid = tree.root_pid
    if pid == PREPARED_TRANSACTION:
        gids = scene.prepared(tree)
        named = ", ".join(f'"{gid}"' for gid in gids)
        return f"the prepared transaction {named}" if gids else "a prepared transaction"
    return scene.backends[pid].in_words if pid in scene.backends else f"process {pid}"


def _sentence(tree: BlockingTree, scene: _Scene, longest_seconds: float) -> str:
    waiting = counted(len(tree.waits), "session")
    text = (
        f"{_in_words(tree, scene)} keeps {waiting} waiting, the longest for"
        f" {seconds_in_words(longest_seconds)}"
    )
    indirect = sum(wait.depth > 1 for wait in tree.waits)
    if indirect:
        text += f" ({indirect} of them behind another waiting one)"
    if tree.is_deadlock:
        text += "; it waits for one of them itself, which is a deadlock"
    head, behind = scene.queue_head(tree)
    if head is not None:
        text += (
            f"; {counted(behind, 'session')} could go on at once if process {head.pid}"
            f" ({head.lock_in_words}) did not queue ahead of them"
        )
    return text[:1].upper() + text[1:] + "."


def _advice(tree: BlockingTree, scene: _Scene) -> str:
    head, _ = scene.queue_head(tree)
    if tree.is_deadlock:
        return "The server ends one of them after deadlock_timeout; look for it in its log."
    if tree.root_pid == PREPARED_TRANSACTION:
        gids = listed([_quoted(gid) for gid in scene.prepared(tree)]) or "it"
        return (
            "Ask the transaction manager that prepared it, then COMMIT PREPARED to keep what it has"
            f" written or ROLLBACK PREPARED to take it back: {gids}, in its own database."
            " pg_prepared_xacts lists what is open."
        )
    first = ""
    if head is not None:
        first = (
            f"Cancel what process {head.pid} waits to do: that loses nothing but its place, and the"
            " others go on; run it again later with a lock_timeout. "
        )
    root = scene.backends.get(tree.root_pid)
    if root is None or root.hidden:
        return f"{first}End its transaction, or find out why the application left it open."
    return f"{first}{_about_root(root)} {loss_in_words(root)}"


def _about_root(root: Backend) -> str:
    if root.is_autovacuum:
        if root.prevents_wraparound:
            return (
                "This autovacuum prevents wraparound and gives way to nobody: let it end if that is"
                " near; once cancelled, it begins anew."
            )
        return "Autovacuum gives way by itself after deadlock_timeout."
    if root.is_idle_in_transaction:
        return (
            f"{root.subject.capitalize()} waits for its application, not for the database: find out"
            " why the transaction was left open, and end the session if nobody will."
        )
    return "Let its statement end, or cancel it; the others go on by themselves."


def _quoted(gid: str) -> str:
    return "'" + gid.replace("'", "''") + "'"


def _commands(tree: BlockingTree, scene: _Scene) -> tuple[str, ...]:
    if tree.is_deadlock:
        return ()
    head, _ = scene.queue_head(tree)
    root = scene.backends.get(tree.root_pid)
    first = (head.cancel_command(),) if head and head.statement_started_at else ()
    return first + (ending_commands(root) if root else ())


def _drawn(tree: BlockingTree, scene: _Scene) -> list[str]:
    """Draw the tree, a line for each session."""
    lines = [_in_words(tree, scene)]
    for wait in tree.waits[:DRAWN_WAITS]:
        backend = scene.backends.get(wait.pid)
        words = f"process {wait.pid}"
        if backend is not None:
            waited = backend.waited_seconds
            since = "" if waited is None else f" for {seconds_in_words(waited)}"
            words += f" waits{since}: {backend.lock_in_words}"
            words += f"; {backend.statement}" if backend.statement else ""
        lines.append(f"{'  ' * wait.depth}{words}")
    left = len(tree.waits) + 1 - len(lines)
    return [*lines, f"... and {left:,} more"] if left else lines


def blocking_table(trees: Iterable[BlockingTree], snapshot: ActivitySnapshot) -> Table:
    """Return the trees as rows, each root above those who wait for it."""
    scene = _Scene.of(snapshot)
    rows: list[Mapping[str, Any]] = []
    for tree in trees:
        rows.append(_row(Wait(tree.root_pid, tree.root_pid, 0), tree, scene))
        rows += [_row(wait, tree, scene) for wait in tree.waits]
    return Table.of("Who waits for whom", rows)


def _row(wait: Wait, tree: BlockingTree, scene: _Scene) -> dict[str, Any]:
    backend = scene.backends.get(wait.pid)
    return {
        "root_pid": tree.root_pid,
        "depth": wait.depth,
        "pid": wait.pid,
        "waits_for_pid": wait.blocker_pid if wait.depth else None,
        "because": scene.reason(wait),
        "waited_seconds": backend.waited_seconds if backend else None,
        "lock": backend.lock_in_words if backend else "",
        "user": backend.user_name if backend else None,
        "application": backend.application_name if backend else None,
        "state": backend.state if backend else None,
        "statement": backend.statement if backend else "",
        "query_id": backend.query_id if backend else None,
    }
