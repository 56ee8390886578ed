"""Which preset knows a site, and which of the servers is which. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maintenance.attach.look import DatabaseSeen, RedisSeen
from maintenance.conf.presets import Preset

#: So much of a preset's tables must be there: releases add and drop some.
ENOUGH_TABLES_RATIO = 0.6


@dataclass(frozen=True, slots=True)
class Fit:
    """A preset that fits, with what speaks for it. ``database`` is the index of the one that has its
    ``tables``; ``servers`` are indexes of the Redis servers, by the preset's name for them, and
    ``by_order`` are those that nothing on the servers told apart."""

    name: str
    preset: Preset
    database: int
    tables: tuple[str, ...]
    servers: Mapping[str, int]
    by_order: tuple[str, ...]


def fitting(
    presets: Mapping[str, Preset],
    databases: Sequence[DatabaseSeen],
    servers: Sequence[RedisSeen],
) -> Fit | None:
    """Return the preset whose tables are in one of the databases, the one with most of them.

    Of equals the first one is taken; ``None`` where none has enough.
    """
    best: tuple[float, str, int] | None = None
    for number, database in enumerate(databases):
        for name, preset in presets.items():
            ratio = len(_tables(preset, database)) / len(preset.fits.tables)
            if ratio >= ENOUGH_TABLES_RATIO and (best is None or ratio > best[0]):
                best = ratio, name, number
    if best is None:
        return None
    _, name, number = best
    assigned, by_order = _assigned(presets[name], servers)
    tables = _tables(presets[name], databases[number])
    return Fit(name, presets[name], number, tables, assigned, by_order)


def _tables(preset: Preset, database: DatabaseSeen) -> tuple[str, ...]:
    """Return those of the preset's tables that are there."""
    there = {table.name for table in database.tables}
    return tuple(name for name in preset.fits.tables if name in there)


def _assigned(
    preset: Preset, servers: Sequence[RedisSeen]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Give each of the preset's servers that one which holds most of what it is known by.

    What is left is given by order, and only after that: a server that is known to be one is no other.
    """
    if not servers:
        return {}, ()
    assigned: dict[str, int] = {}
    for name, kind in preset.fits.redis.items():
        counts = [_speaking_for(kind, preset, server) for server in servers]
        if any(counts):
            assigned[name] = counts.index(max(counts))
    by_order = [name for name in preset.fits.redis if name not in assigned]
    free = [number for number in range(len(servers)) if number not in assigned.values()]
    for name in by_order:
        # One server may serve as several.
        assigned[name] = free.pop(0) if free else len(servers) - 1
    in_order = {name: assigned[name] for name in preset.fits.redis}
    return in_order, tuple(by_order) if len(servers) > 1 else ()


def _speaking_for(kind: str, preset: Preset, server: RedisSeen) -> int:
    if kind == "queues":
        return len(set(preset.fits.queues) & set(server.queues))
    return sum(shape.sampled_keys for shape in server.shapes if shape.shape in preset.fits.keys)
