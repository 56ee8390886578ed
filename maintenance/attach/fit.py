"""Which preset knows a site, and which of the servers is which. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maintenance.attach.look import DatabaseSeen, RedisSeen
from maintenance.conf.presets import Preset

#: So much of a preset's tables must be there: releases add and drop some.
ENOUGH_TABLES_RATIO = 0.6


@dataclass(frozen=True, slots=True)
class Fit:
    """A preset that fits, with what speaks for it. ``servers`` are indexes of the Redis servers, by
    the preset's name for them; ``by_order`` are those that nothing on the servers told apart."""

    name: str
    preset: Preset
    tables: tuple[str, ...]
    servers: Mapping[str, int]
    by_order: tuple[str, ...]


def fitting(
    presets: Mapping[str, Preset], database: DatabaseSeen, servers: Sequence[RedisSeen]
) -> Fit | None:
    """Return the preset whose tables are there, the one with most of them; ``None`` without one."""
    there = {table.name for table in database.tables}
    best: tuple[float, str] | None = None
    for name, preset in presets.items():
        ratio = len(there & set(preset.fits.tables)) / len(preset.fits.tables)
        if ratio >= ENOUGH_TABLES_RATIO and (best is None or ratio > best[0]):
            best = ratio, name
    if best is None:
        return None
    preset = presets[best[1]]
    assigned, by_order = _assigned(preset, servers)
    tables = tuple(name for name in preset.fits.tables if name in there)
    return Fit(best[1], preset, tables, assigned, by_order)


def _assigned(
    preset: Preset, servers: Sequence[RedisSeen]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Give each of the preset's servers that one which holds most of what it is known by."""
    assigned: dict[str, int] = {}
    by_order: list[str] = []
    if not servers:
        return {}, ()
    for place, (name, kind) in enumerate(preset.fits.redis.items()):
        counts = [_speaking_for(kind, preset, server) for server in servers]
        if any(counts):
            assigned[name] = counts.index(max(counts))
        else:
            by_order.append(name)
            free = [n for n in range(len(servers)) if n not in assigned.values()]
            assigned[name] = free[0] if free else min(place, len(servers) - 1)
    return assigned, tuple(by_order) if len(servers) > 1 else ()


def _speaking_for(kind: str, preset: Preset, server: RedisSeen) -> int:
    if kind == "queues":
        return len(set(preset.fits.queues) & set(server.queues))
    return sum(shape.sampled_keys for shape in server.shapes if shape.shape in preset.fits.keys)
