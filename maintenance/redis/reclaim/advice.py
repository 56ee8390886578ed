"""What the look at the encodings has to say. Pure."""

from collections.abc import Container, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.redis.key_shapes import shortened
from maintenance.redis.reclaim.compact import Limits
from maintenance.redis.reclaim.encodings import (
    LARGEST_VALUE_BYTES,
    EncodingSample,
    Recommendation,
    most_members,
)
from maintenance.redis.reclaim.trial import Measured
from maintenance.redis_client.server import ServerFacts

#: Less is not worth a change of a server's settings.
WORTH_BYTES = 1024**2
WORTH_RATIO = 0.01
#: From this share of the memory on it is no remark any more.
WARNING_RATIO = 0.1
#: A list of nodes with fewer members than this takes as much for the nodes as for them.
FEWEST_LIST_NODE_MEMBERS = 32

KIND_WORDS = {"zset": "sorted set", "hash": "hash", "set": "set"}
_PLURALS = {"hash": "hashes"}

#: What redis.conf of Redis 7 and Valkey sets, members and bytes; a limit that differs was set by
#: somebody.
_DEFAULTS = {"zset": (128, 64), "hash": (512, 64), "set": (128, 64)}
_DEFAULT_INTEGER_ENTRIES = 512


def worthwhile(
    recommendations: Sequence[Recommendation], facts: ServerFacts
) -> list[Recommendation]:
    """Return those that save enough to be worth a word."""
    least = max(WORTH_BYTES, WORTH_RATIO * facts.used_memory_bytes)
    return [one for one in recommendations if one.saved_bytes >= least]


def raised_limits(limits: Mapping[str, Limits]) -> Iterator[tuple[str, int, int]]:
    """Yield the settings that somebody has raised, by the server's names, with value and default."""
    for kind, now in limits.items():
        members, size = _DEFAULTS[kind]
        for setting, value, default in (
            (now.entries_setting, now.entries, members),
            (now.value_setting, now.value_bytes, size),
            (now.integer_setting, now.integer_entries or 0, _DEFAULT_INTEGER_ENTRIES),
        ):
            if value > default:
                yield setting, value, default


def encoding_findings(
    recommendations: Sequence[Recommendation],
    facts: ServerFacts,
    config_file: str,
    tried: Container[str] = (),
) -> Iterator[Finding]:
    """Say what to raise and what to repack. ``config_file`` is empty where the server has none.

    ``tried`` are the settings whose advised value a trial has measured.
    """
    for one in recommendations:
        share = one.saved_bytes / facts.used_memory_bytes
        yield Finding(
            code="redis-repack-pending" if one.is_repack_only else "redis-encoding-limit",
            severity=Severity.WARNING if share >= WARNING_RATIO else Severity.INFO,
            subject=one.kind if one.is_repack_only else one.setting,
            sentence=_sentence(one),
            evidence={
                "keys": one.keys,
                "kinds": list(one.shapes[:5]),
                "before_bytes": one.before_bytes,
                "saved_bytes": one.saved_bytes,
                "saved_at_least_bytes": one.lowest_bytes,
                "saved_at_most_bytes": one.highest_bytes,
                "of_used_memory_ratio": share,
                **({} if one.is_repack_only else {"redis_conf": f"{one.setting} {one.value}"}),
            },
            advice=_advice(one, config_file, is_tried=one.setting in tried),
            commands=_commands(one, config_file),
            undo=() if one.is_repack_only else (f"CONFIG SET {one.setting} {one.current}",),
        )


def _sentence(one: Recommendation) -> str:
    keys = counted(one.keys, KIND_WORDS[one.kind], _PLURALS.get(one.kind))
    which = f"{keys} ({listed(list(one.shapes), 3)})"
    saves = f"about {bytes_in_words(one.saved_bytes)}"
    if one.lowest_bytes != one.highest_bytes:
        saves += (
            f" (between {bytes_in_words(one.lowest_bytes)} and {bytes_in_words(one.highest_bytes)})"
        )
    of = f"of the {bytes_in_words(one.before_bytes)} that {which} take"
    if one.is_repack_only:
        return f"Repacking saves {saves} {of}: they fit the limits and are not stored compactly."
    return (
        f"Raising {one.setting} from {one.current} to {one.value} and repacking saves {saves} {of}."
    )


def _advice(one: Recommendation, config_file: str, *, is_tried: bool) -> str:
    repack = (
        "allow reclaim_memory on this target and run reclaim_redis_memory with the part repack: it"
        " writes each key anew, as it is"
    )
    if one.is_repack_only:
        return f"{repack[0].upper()}{repack[1:]}."
    first = "" if is_tried else "See first what it costs here, by the part trial. "
    return f"{first}{permanence(f'{one.setting} {one.value}', config_file)} Then {repack}."


def permanence(line: str, config_file: str) -> str:
    """Say how a setting outlives a restart, after which keys are loaded by the limits of then."""
    if config_file:
        return (
            f'Set it, and make it permanent: CONFIG REWRITE, or "{line}" in {config_file}. Without'
            " that a restart stores the keys loosely again."
        )
    return (
        f'Set it, and make it permanent: this server runs without a configuration file, so put "--{line}"'
        " on its command line (in a compose file: command). Without that a restart stores the keys"
        " loosely again."
    )


def _commands(one: Recommendation, config_file: str) -> tuple[str, ...]:
    if one.is_repack_only:
        return ()
    command = f"CONFIG SET {one.setting} {one.value}"
    return (command, "CONFIG REWRITE") if config_file else (command,)


def too_large_findings(sample: EncodingSample, facts: ServerFacts) -> Iterator[Finding]:
    """Name what is beyond any limit that is advised, where it is much of the memory."""
    for kind, size in sample.too_large_bytes.items():
        taken = sample.of_all(kind, size)
        if taken < max(WORTH_BYTES, WARNING_RATIO * facts.used_memory_bytes):
            continue
        most = most_members(kind)
        keys = round(sample.of_all(kind, sample.too_large_keys[kind]))
        yield Finding(
            code="redis-encoding-too-large",
            severity=Severity.INFO,
            subject=kind,
            sentence=(
                f"{counted(keys, KIND_WORDS[kind], _PLURALS.get(kind))} of about"
                f" {bytes_in_words(taken)} are beyond every limit that is advised ({most:,} members,"
                f" {LARGEST_VALUE_BYTES} bytes each): a command on a compact value takes time in"
                " proportion to its members."
            ),
            evidence={"keys": keys, "size_bytes": taken, "most_advised_members": most},
            advice="Divide them into smaller values, or shorten them, if that memory matters.",
        )


def list_findings(sample: EncodingSample, settings: Mapping[str, str]) -> Iterator[Finding]:
    """Name a limit that divides lists into needlessly small nodes; lists are packed otherwise."""
    for name in ("list-max-listpack-size", "list-max-ziplist-size"):
        size = int(settings.get(name, -2))
        taken = sample.total_keys * sample.list_bytes / max(sample.drawn, 1)
        if 0 < size < FEWEST_LIST_NODE_MEMBERS and taken >= WORTH_BYTES:
            yield Finding(
                code="redis-list-nodes",
                severity=Severity.INFO,
                subject=name,
                sentence=(
                    f"Lists are stored in nodes of at most {counted(size, 'member')} ({name}): the"
                    " nodes take more than they have to."
                ),
                evidence={name.replace("-", "_"): size, "list_bytes": taken},
                advice="Use the default, nodes of up to 8 kB. Only lists written from then on change.",
                commands=(f"CONFIG SET {name} -2",),
                undo=(f"CONFIG SET {name} {size}",),
            )
            return


def encoding_tables(
    recommendations: Sequence[Recommendation], trials: Mapping[str, Sequence[Measured]]
) -> Iterator[Table]:
    """Show every recommendation with its band, and what a trial measured."""
    if recommendations:
        yield Table.of("Encodings, estimated", [_row(one) for one in recommendations])
    for setting, measured in trials.items():
        if measured:
            yield Table.of(f"Trial of {setting} on copies", [_trial_row(one) for one in measured])


def _row(one: Recommendation) -> dict[str, Any]:
    return {
        "setting": one.setting,
        "now": one.current,
        "advised": "repack only" if one.is_repack_only else one.value,
        "keys": one.keys,
        "before_bytes": one.before_bytes,
        "saved_bytes": one.saved_bytes,
        "at_least_bytes": one.lowest_bytes,
        "at_most_bytes": one.highest_bytes,
    }


def _trial_row(one: Measured) -> dict[str, Any]:
    return {
        "key": shortened(one.key),
        "members": one.length,
        "now_bytes": one.loose_bytes,
        "compact_bytes": one.compact_bytes,
        "find_now_ms": one.loose_seconds * 1000,
        "find_compact_ms": one.compact_seconds * 1000,
        "write_now_ms": one.loose_write_seconds * 1000,
        "write_compact_ms": one.compact_write_seconds * 1000,
    }


def trial_findings(trials: Mapping[str, Sequence[Measured]]) -> Iterator[Finding]:
    """Say in a sentence what each trial measured."""
    for setting, measured in trials.items():
        if measured:
            yield Finding(
                code="redis-encoding-trial",
                severity=Severity.INFO,
                subject=setting,
                sentence=(
                    f"Copies of {counted(len(measured), 'value')} take {_saving(measured)} less under"
                    f" the advised {setting}; {_times_in_words(measured)}."
                ),
                evidence=_trial_evidence(measured),
            )


def too_slow_findings(
    too_slow: Mapping[str, tuple[Recommendation, Sequence[Measured]]],
) -> Iterator[Finding]:
    """Name limits that would save memory and cost too much time."""
    for setting, (one, measured) in too_slow.items():
        yield Finding(
            code="redis-encoding-too-slow",
            severity=Severity.INFO,
            subject=setting,
            sentence=(
                f"Raising {setting} from {one.current} to {one.value} is not advised: copies of"
                f" {counted(len(measured), 'value')} take {_saving(measured)} less under it, but"
                f" {_times_in_words(measured)}."
            ),
            evidence={"limit": one.value, **_trial_evidence(measured)},
        )


def _saving(measured: Sequence[Measured]) -> str:
    loose, compact = _sizes(measured)
    return percent(1 - compact / loose)


def _sizes(measured: Sequence[Measured]) -> tuple[int, int]:
    return sum(one.loose_bytes for one in measured), sum(one.compact_bytes for one in measured)


def _times_in_words(measured: Sequence[Measured]) -> str:
    times = _times_ms(measured)
    return (
        f"to find a member takes {times['find_compact_ms']:.4f} ms instead of"
        f" {times['find_now_ms']:.4f} ms, to write one {times['write_compact_ms']:.4f} ms instead of"
        f" {times['write_now_ms']:.4f} ms"
    )


def _times_ms(measured: Sequence[Measured]) -> dict[str, float]:
    return {
        "find_now_ms": median(one.loose_seconds for one in measured) * 1000,
        "find_compact_ms": median(one.compact_seconds for one in measured) * 1000,
        "write_now_ms": median(one.loose_write_seconds for one in measured) * 1000,
        "write_compact_ms": median(one.compact_write_seconds for one in measured) * 1000,
    }


def _trial_evidence(measured: Sequence[Measured]) -> dict[str, float]:
    loose, compact = _sizes(measured)
    return {
        "copies": len(measured),
        "now_bytes": loose,
        "compact_bytes": compact,
        **_times_ms(measured),
    }
