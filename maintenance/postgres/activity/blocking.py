"""Who waits for whom: the server's waiting sessions as trees, each with the one to blame at its root.

Source: PostgreSQL documentation, "System Information Functions", ``pg_blocking_pids``.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Table
from maintenance.core.wording import counted, seconds_in_words
from maintenance.postgres.activity.backends import (
    PREPARED_TRANSACTION,
    ActivitySnapshot,
    Backend,
    by_pid,
)

#: Shorter waits are daily life; from here on the server itself takes a look (``deadlock_timeout``,
#: PostgreSQL documentation, "Lock Management", default 1 s).
WAIT_WARNING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wait:
    """A place in a tree: ``pid`` waits for ``blocker_pid``, ``depth`` steps below the root."""

    pid: int
    blocker_pid: int
    depth: int


@dataclass(frozen=True, slots=True)
class BlockingTree:
    """Everybody who waits for ``root_pid``, directly or behind another, in the order of a walk.

    ``is_deadlock`` says that the root waits, too: for one of those who wait for it.
    """

    root_pid: int
    waits: tuple[Wait, ...]
    is_deadlock: bool = False


def blocking_trees(blocked_by: Mapping[int, Collection[int]]) -> tuple[BlockingTree, ...]:
    """Arrange waiting sessions under root blockers; every waiting session stands in one place.

    ``blocked_by`` maps each waiting process to those it waits for. One that waits for several
    stands under the deepest of them, so that a queue reads as a queue.
    """
    waiting = {pid: set(blockers) - {pid} for pid, blockers in blocked_by.items()}
    waiting = {pid: blockers for pid, blockers in waiting.items() if blockers}
    behind: dict[int, list[int]] = defaultdict(list)
    for pid in sorted(waiting):
        for blocker in waiting[pid]:
            behind[blocker].append(pid)
    depths = {pid: 0 for pid in behind if pid not in waiting}
    placed: dict[int, Wait] = {}
    deadlocks: set[int] = set()
    ready = _free_of(waiting, depths, behind, sorted(depths))
    while len(placed) + len(deadlocks) < len(waiting):
        if not ready:
            root = _in_a_circle({p: b for p, b in waiting.items() if p not in depths})
            deadlocks.add(root)
            depths[root] = 0
            ready = _free_of(waiting, depths, behind, [root])
            continue
        pid = ready.pop(0)
        deepest = max(waiting[pid], key=lambda blocker: (depths[blocker], -blocker))
        depths[pid] = depths[deepest] + 1
        placed[pid] = Wait(pid, deepest, depths[pid])
        ready += _free_of(waiting, depths, behind, [pid])
    roots = [pid for pid in depths if pid not in placed]
    return tuple(
        BlockingTree(root, tuple(_walk(root, placed)), root in deadlocks) for root in sorted(roots)
    )


def _free_of(
    waiting: Mapping[int, set[int]],
    depths: Mapping[int, int],
    behind: Mapping[int, Sequence[int]],
    just_placed: Iterable[int],
) -> list[int]:
    """Return those behind ``just_placed`` who wait for nobody without a place, each once."""
    candidates = dict.fromkeys(pid for placed in just_placed for pid in behind.get(placed, ()))
    return [pid for pid in candidates if pid not in depths and waiting[pid] <= depths.keys()]


def _in_a_circle(waiting: Mapping[int, Collection[int]]) -> int:
    """Return the smallest process of a circle; everybody in ``waiting`` waits for one in it."""
    pid = min(waiting)
    seen: list[int] = []
    while pid not in seen:
        seen.append(pid)
        pid = min(blocker for blocker in waiting[pid] if blocker in waiting)
    return min(seen[seen.index(pid) :])


def _walk(root: int, placed: Mapping[int, Wait]) -> Iterator[Wait]:
    children: dict[int, list[Wait]] = defaultdict(list)
    for wait in placed.values():
        children[wait.blocker_pid].append(wait)
    stack = sorted(children[root], key=lambda wait: wait.pid, reverse=True)
    while stack:
        wait = stack.pop()
        yield wait
        stack += sorted(children[wait.pid], key=lambda below: below.pid, reverse=True)


def trees_of(snapshot: ActivitySnapshot) -> tuple[BlockingTree, ...]:
    """Return the trees in which a session of the target's database stands."""
    # A worker of a parallel query waits on behalf of its leader, which is named as the blocker.
    blocked_by: dict[int, set[int]] = defaultdict(set)
    for backend in snapshot.backends:
        leader = backend.leader_pid or backend.pid
        blocked_by[leader] |= set(backend.blocked_by) - {leader}
    here = {backend.pid for backend in snapshot.backends if backend.here}
    return tuple(
        tree
        for tree in blocking_trees(blocked_by)
        if not here.isdisjoint({tree.root_pid, *(wait.pid for wait in tree.waits)})
    )


def diagnose_blocking(
    trees: Iterable[BlockingTree], snapshot: ActivitySnapshot, thresholds: Thresholds
) -> Iterator[Finding]:
    """Judge each tree by its longest wait; one finding names its root."""
    backends = by_pid(snapshot.backends)
    for tree in trees:
        longest = longest_wait_seconds([tree], backends)
        yield Finding(
            code="blocking",
            severity=_severity(longest, thresholds),
            subject=_subject(tree.root_pid),
            sentence=_sentence(tree, backends, longest),
            evidence={
                "waiting_sessions": len(tree.waits),
                "longest_wait_seconds": longest,
                "tree": [_row(wait, tree, backends) for wait in tree.waits],
            },
            advice=_advice(tree, backends),
            commands=_commands(tree, backends),
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


def _in_words(pid: int, backends: Mapping[int, Backend]) -> str:
    if pid == PREPARED_TRANSACTION:
        return "a prepared transaction"
    return backends[pid].in_words if pid in backends else f"process {pid}"


def _sentence(tree: BlockingTree, backends: Mapping[int, Backend], longest_seconds: float) -> str:
    root = _in_words(tree.root_pid, backends)
    waiting = counted(len(tree.waits), "session")
    text = f"{root} keeps {waiting} waiting, the longest for {seconds_in_words(longest_seconds)}"
    indirect = sum(wait.depth > 1 for wait in tree.waits)
    if indirect:
        text += f" ({indirect} of them behind another waiting one)"
    if tree.is_deadlock:
        text += "; it waits for one of them itself, which is a deadlock"
    return text[:1].upper() + text[1:] + "."


def _advice(tree: BlockingTree, backends: Mapping[int, Backend]) -> str:
    if tree.is_deadlock:
        return "The server ends one of them after deadlock_timeout; look for it in its log."
    if tree.root_pid == PREPARED_TRANSACTION:
        return "COMMIT PREPARED or ROLLBACK PREPARED it; pg_prepared_xacts lists what is open."
    root = backends.get(tree.root_pid)
    if root is None or root.hidden:
        return "End its transaction, or find out why the application left it open."
    if root.is_idle_in_transaction:
        return (
            "It waits for its application, not for the database: find out why the transaction was"
            " left open, and end the session if nobody will."
        )
    return "Let its statement end, or cancel it; the others go on by themselves."


def _commands(tree: BlockingTree, backends: Mapping[int, Backend]) -> tuple[str, ...]:
    root = backends.get(tree.root_pid)
    if root is None or root.hidden or tree.is_deadlock:
        return ()
    if root.is_idle_in_transaction:
        return (root.terminate_command(),)
    return (root.cancel_command(),) if root.statement_started_at else ()


def blocking_table(trees: Iterable[BlockingTree], snapshot: ActivitySnapshot) -> Table:
    """Return the trees as rows, each root above those who wait for it."""
    backends = by_pid(snapshot.backends)
    rows: list[Mapping[str, Any]] = []
    for tree in trees:
        rows.append(_row(Wait(tree.root_pid, tree.root_pid, 0), tree, backends))
        rows += [_row(wait, tree, backends) for wait in tree.waits]
    return Table.of("Who waits for whom", rows)


def _row(wait: Wait, tree: BlockingTree, backends: Mapping[int, Backend]) -> dict[str, Any]:
    backend = backends.get(wait.pid)
    return {
        "root_pid": tree.root_pid,
        "depth": wait.depth,
        "pid": wait.pid,
        "waits_for_pid": wait.blocker_pid if wait.depth else None,
        "waited_seconds": backend.waited_seconds if backend else None,
        "lock": backend.lock_in_words if backend else "",
        "user": backend.user_name if backend else None,
        "application": backend.application_name if backend else None,
        "state": backend.state if backend else None,
        "statement": backend.statement if backend else "",
        "query_id": backend.query_id if backend else None,
    }
