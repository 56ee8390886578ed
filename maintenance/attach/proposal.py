"""The file that is proposed: each line with its reason, addresses by reference. Pure."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any

from maintenance.attach.addresses import Address
from maintenance.attach.caches import CacheSeen, caches_of
from maintenance.attach.fit import Fit
from maintenance.attach.look import DatabaseSeen, RedisSeen, ShapeSeen
from maintenance.conf.presets import Preset
from maintenance.conf.references import filled, origin_of
from maintenance.core.configuration_file import ConfigurationFile, Line
from maintenance.core.wording import bytes_in_words, counted, listed
from maintenance.reports.columns import one_line, visible

#: Fewer keys of a shape are no family: limits on single keys are the site's own affair.
FEWEST_KEYS = 5


def proposed(
    databases: Sequence[tuple[Address, DatabaseSeen]],
    servers: Sequence[tuple[Address, RedisSeen]],
    fit: Fit | None,
    environment: Mapping[str, str],
) -> ConfigurationFile:
    """Return the whole file. ``environment`` is what the preset's own references will read."""
    lines = [Line("", _to_set([*databases, *servers]))]
    if fit is not None:
        lines += _by_preset(fit, servers)
    lines += [Line("", "--- PostgreSQL ---"), *_databases(databases, fit)]
    lines += [Line("", "--- Redis ---")] if servers or fit is not None else []
    if fit is not None:
        lines += _redis_of_preset(fit, servers, environment)
    known = set(fit.servers.values()) if fit is not None else set()
    others = [one for number, one in enumerate(servers) if number not in known]
    for name, (address, server) in zip(_free_names(_names_of_servers(fit)), others, strict=False):
        lines += _redis(name, address, server)
    about = (
        "What `maintenance attach` proposes for this site. Nothing that can harm it is allowed: see allow"
        " in maintenance.example.toml."
    )
    # Names of a site stand in the reasons, and may hold anything: a comment is one line of text.
    clean = [replace(line, reason=visible(one_line(line.reason))) for line in lines]
    return ConfigurationFile("maintenance.toml", about, tuple(clean))


def _to_set(addresses: Sequence[tuple[Address, DatabaseSeen | RedisSeen]]) -> str:
    from_file = {address.is_file for address, _ in addresses}
    origins = ["files"] * (True in from_file) + ["the environment"] * (False in from_file)
    said = f"Addresses are read from {' and '.join(origins)}, so that no password stands here."
    named = [
        f"{address.name} for {seen.address}" for address, seen in addresses if address.is_to_be_set
    ]
    return f"{said} Set {', '.join(named)}." if named else said


def _by_preset(fit: Fit, servers: Sequence[tuple[Address, RedisSeen]]) -> Iterator[Line]:
    what = f"tables {listed(list(fit.tables))}"
    seen = {shape for _, server in servers for shape in (s.shape for s in server.shapes)}
    keys = [key for key in fit.preset.fits.keys if key in seen]
    if keys:
        what += f", keys {listed(keys)}"
    reason = (
        f"This is {fit.preset.title}: {what} say so. The preset brings {listed(_brought(fit.preset))}; what"
        " stands below wins over it, and `maintenance config` shows both."
    )
    yield Line(f"preset = {_text(fit.name)}", reason)


def _brought(preset: Preset) -> list[str]:
    """Say what a preset knows beside addresses."""
    configuration = preset.configuration
    words = {"streams": "streams", "caches": "caches", "brokers": "queues"}
    brought = [word for section, word in words.items() if section in configuration]
    if any("windows" in database for database in configuration["databases"].values()):
        brought.append("times of rest")
    return brought


def _databases(
    databases: Sequence[tuple[Address, DatabaseSeen]], fit: Fit | None
) -> Iterator[Line]:
    """Write the one that the preset knows first, under the name that it has there."""
    names = list(fit.preset.configuration["databases"]) if fit is not None else []
    order = sorted(databases, key=lambda one: fit is None or one is not databases[fit.database])
    named = zip(chain(names[:1], _free_names(names)), order, strict=False)
    for name, (address, seen) in named:
        total = sum(table.size_bytes for table in seen.tables)
        largest = listed(
            [f"{visible(t.name)} {bytes_in_words(t.size_bytes)}" for t in seen.tables[:3]]
        )
        made = "made by Django" if seen.is_of_django else "not made by Django"
        reason = (
            f"PostgreSQL {seen.version}: {counted(len(seen.tables), 'table')}, {made},"
            f" {bytes_in_words(total)}; the largest are {largest or 'none'}. Extensions:"
            f" {', '.join(seen.extensions) or 'none that measures'}. `maintenance doctor` says which rights"
            " and extensions are missing."
        )
        yield Line(f"[databases.{name}]", reason)
        yield _url(address, seen)


def _url(address: Address, seen: DatabaseSeen | RedisSeen) -> Line:
    return Line(
        f"url = {_text(address.reference)}",
        f"Read from {origin_of(address.reference)}, since it may hold a password; what was looked at is"
        f" {seen.address}.",
    )


def _redis_of_preset(
    fit: Fit, servers: Sequence[tuple[Address, RedisSeen]], environment: Mapping[str, str]
) -> Iterator[Line]:
    if not servers:
        yield Line("", "No Redis was given: its servers are those that the preset names.")
    for name, index in fit.servers.items():
        address, seen = servers[index]
        reason = f"{_said(seen)}."
        if name in fit.by_order:
            reason += (
                " Nothing on it says which server it is: taken by the order that was given. Verify."
            )
        own = [shape for shape in seen.shapes if shape.shape in fit.preset.fits.keys]
        if fit.preset.fits.redis[name] == "streams" and own:
            reason += f" {_lengths(own)}"
        yield Line(f"[redis.{name}]", reason)
        yield _url(address, seen)
        yield from _abandoned_prefixes(fit.preset, name, seen, environment)
        for section, target in _on_the_same_server(fit.preset, name):
            reason = f"The preset has its {section} on {name}, which is this server."
            yield Line(f"[{section}.{target}]", reason)
            yield _url(address, seen)
            values = fit.preset.configuration[section][target]
            if section == "caches":
                yield from _other_cache_prefix(_cache_of(values, environment), seen)
            elif seen.queues and seen.queue_prefix != _key_prefix(values, environment):
                yield _prefix_of_queues(seen)


def _key_prefix(values: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    return filled(str(values.get("key_prefix", "")), environment)


def _cache_of(values: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, int]:
    """Return prefix and version that the preset says of a cache."""
    return _key_prefix(values, environment), int(values.get("version", 1))


def _abandoned_prefixes(
    preset: Preset, name: str, seen: RedisSeen, environment: Mapping[str, str]
) -> Iterator[Line]:
    """Leave out of the preset's abandoned prefixes those of keys that its cache may have in use.

    They may be where none of its keys begins as the preset expects.
    """
    reclaim: Mapping[str, Any] = preset.configuration["redis"][name].get("reclaim", {})
    abandoned: Sequence[str] = reclaim.get("abandoned_prefixes", ())
    there = {(prefix, version) for prefix, version, _ in seen.prefixes}
    expected = {
        _cache_of(preset.configuration[section][target], environment)
        for section, target in _on_the_same_server(preset, name)
        if section == "caches"
    }
    if expected <= there:
        return
    begins = [f"{prefix}:{version}:" for prefix, version in there]
    kept = [one for one in abandoned if not any(_overlap(one, begin) for begin in begins)]
    if kept == list(abandoned):
        return
    left_out = listed([one for one in abandoned if one not in kept])
    yield Line(
        f"[redis.{name}.reclaim]",
        "What the preset takes for abandoned is here the beginning of keys that a cache may still use.",
    )
    yield Line(
        f"abandoned_prefixes = [{', '.join(map(_text, kept))}]",
        f"Without {left_out}: keys begin with it, and none with what the preset expects of the cache.",
    )


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _on_the_same_server(preset: Preset, name: str) -> Iterator[tuple[str, str]]:
    url = preset.configuration["redis"][name]["url"]
    for section in ("brokers", "caches"):
        targets: Mapping[str, Any] = preset.configuration.get(section, {})
        yield from ((section, one) for one, values in targets.items() if values.get("url") == url)


def _other_cache_prefix(wanted: tuple[str, int], seen: RedisSeen) -> Iterator[Line]:
    """Take the prefix and version that are there, where those of the preset are not."""
    there = {(prefix, version) for prefix, version, _ in seen.prefixes}
    caches = caches_of(seen)
    if caches and wanted not in there:
        prefix, version, _ = caches[0]
        yield from _keys_of_cache(prefix, version, "most sampled keys of a cache")


def _keys_of_cache(prefix: str, version: int, which: str) -> Iterator[Line]:
    begin = _text(prefix) if prefix else "nothing"
    yield Line(
        f"key_prefix = {_text(prefix)}",
        f"Django writes prefix, version and key with colons between them: before the version of {which} stands"
        f" {begin}.",
    )
    yield Line(f"version = {version}", f"It is {version} in {which}.")


def _prefix_of_queues(seen: RedisSeen) -> Line:
    return Line(
        f"key_prefix = {_text(seen.queue_prefix)}",
        "The keys of its queues begin with it (global_keyprefix).",
    )


def _redis(name: str, address: Address, seen: RedisSeen) -> Iterator[Line]:
    families = [
        shape
        for shape in seen.shapes
        if shape.longest is not None and shape.sampled_keys >= FEWEST_KEYS and "*" in shape.shape
    ]
    caches = caches_of(seen)
    yield Line(f"[redis.{name}]", f"{_said(seen)}.")
    yield _url(address, seen)
    yield _role(seen, families, caches)
    if seen.queues:
        yield from _broker(name, address, seen)
    for number, (prefix, version, sampled) in enumerate(caches):
        # No name of the next server: site and site_2 are on the first one, site2 on the second.
        cache = f"{name}_{number + 1}" if number else name
        yield Line(
            f"[caches.{cache}]",
            f"{counted(sampled, 'sampled key')} as Django's cache writes them.",
        )
        yield _url(address, seen)
        yield from _keys_of_cache(prefix, version, "these keys")
    yield from (_family(name, shape) for shape in families)


def _role(seen: RedisSeen, families: Sequence[ShapeSeen], caches: Sequence[CacheSeen]) -> Line:
    role, why = "cache", "neither queues nor kinds of keys that grow were seen on it"
    if seen.queues:
        role, why = "broker", f"Celery's queues are on it: {listed(list(seen.queues))}"
    elif families:
        role, why = "streams", f"{listed([visible(f.shape) for f in families])} are kept on it"
    elif not seen.keys:
        why = "it holds no key, so that nothing speaks for another one. Verify"
    elif seen.searched_keys is not None and caches:
        why = "keys of a cache of Django are on it"
    elif seen.searched_keys is not None:
        return Line(
            "",
            "What it is for is not known, since it was not looked through for queues: write role ="
            ' "broker" if there are some. Without a role it is looked after as a cache.',
        )
    return Line(f"role = {_text(role)}", f"It is a server of this kind: {why}.")


def _broker(name: str, address: Address, seen: RedisSeen) -> Iterator[Line]:
    yield Line(
        f"[brokers.{name}]",
        "Since queues are on it, their depth is read; no worker of ours runs on this broker.",
    )
    yield _url(address, seen)
    yield Line(
        f"queues = [{', '.join(map(_text, seen.queues))}]",
        "What Celery has declared there (_kombu.binding.*), without its own queues of remote control.",
    )
    if seen.queue_prefix:
        yield _prefix_of_queues(seen)


def _family(server: str, shape: ShapeSeen) -> Line:
    return Line(
        "",
        f"{visible(shape.shape)}, {counted(shape.sampled_keys, 'sampled key')} of type {shape.type},"
        f" longest {shape.longest:,}: if they have a limit, add a family with redis ="
        f" {_text(server)}, pattern = {visible(_text(shape.shape))}, type = {_text(shape.type)} and"
        " max_length. Which limit is right, the site alone knows.",
    )


def _said(seen: RedisSeen) -> str:
    what = f"{seen.name}, {counted(seen.keys, 'key')}"
    if seen.queues:
        what += f"; queues {listed(list(seen.queues))}"
    if seen.searched_keys is not None:
        what += (
            f"; queues were looked for among {seen.searched_keys:,} of its {seen.keys:,} keys, so that"
            " there may be more"
        )
    return what


def _lengths(shapes: Sequence[ShapeSeen]) -> str:
    longest = ", ".join(f"{s.shape} {s.longest:,}" for s in shapes if s.longest is not None)
    return f"The longest of the sample: {longest}." if longest else ""


def _names_of_servers(fit: Fit | None) -> set[str]:
    """Return the names that the preset has for servers, and for what is on them."""
    sections = ("redis", "brokers", "caches")
    return {name for s in sections if fit for name in fit.preset.configuration.get(s, {})}


def _free_names(taken: Collection[str]) -> Iterator[str]:
    """Yield site, site2 and so on, without those that are taken."""
    names = chain(["site"], (f"site{number}" for number in count(2)))
    return (name for name in names if name not in taken)


def _text(value: str) -> str:
    """Write a basic string of TOML: what JSON escapes, TOML does in the same way."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
