"""Who waits for whom: the server's waiting sessions as trees, each with the one to blame at its root.

Source: PostgreSQL documentation, "System Information Functions", ``pg_blocking_pids``.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maintenance.postgres.activity.backends import ActivitySnapshot


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
    unplaced_blockers = {pid: len(blockers) for pid, blockers in waiting.items()}
    depths = {pid: 0 for pid in behind if pid not in waiting}
    placed: dict[int, Wait] = {}
    deadlocks: set[int] = set()
    ready = deque(sorted(depths))
    while True:
        while ready:
            for pid in behind.get(ready.popleft(), ()):
                unplaced_blockers[pid] -= 1
                if unplaced_blockers[pid] or pid in depths:
                    continue
                deepest = max(waiting[pid], key=lambda blocker: (depths[blocker], -blocker))
                depths[pid] = depths[deepest] + 1
                placed[pid] = Wait(pid, deepest, depths[pid])
                ready.append(pid)
        circling = {pid: blockers for pid, blockers in waiting.items() if pid not in depths}
        if not circling:
            break
        root = _in_a_circle(circling)
        deadlocks.add(root)
        depths[root] = 0
        ready.append(root)
    below: dict[int, list[Wait]] = defaultdict(list)
    for wait in placed.values():
        below[wait.blocker_pid].append(wait)
    roots = sorted(pid for pid in depths if pid not in placed)
    return tuple(BlockingTree(root, tuple(_walk(root, below)), root in deadlocks) for root in roots)


def _in_a_circle(waiting: Mapping[int, Collection[int]]) -> int:
    """Return the smallest process of a circle; everybody in ``waiting`` waits for one in it."""
    pid = min(waiting)
    seen: dict[int, int] = {}
    while pid not in seen:
        seen[pid] = len(seen)
        pid = min(blocker for blocker in waiting[pid] if blocker in waiting)
    return min(met for met, position in seen.items() if position >= seen[pid])


def _walk(root: int, below: Mapping[int, Sequence[Wait]]) -> Iterator[Wait]:
    stack = sorted(below.get(root, ()), key=lambda wait: wait.pid, reverse=True)
    while stack:
        wait = stack.pop()
        yield wait
        stack += sorted(below.get(wait.pid, ()), key=lambda wait: wait.pid, reverse=True)


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
