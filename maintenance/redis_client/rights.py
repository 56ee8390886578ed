"""Which ACL rules a user of a server lacks, found out without asking for a right to ask.

ACL GETUSER and ACL DRYRUN are administration. A server refuses a command for lack of a right before
it looks at its arguments (Redis source, ``processCommand``: the ACL comes before the call), so that
commands which could not do anything tell what is allowed: each reads a key that nobody has, removes
from it, or has an argument that no server accepts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

_KEY = "{key}"

#: By ACL rule a command that does nothing, whatever the server allows.
_PROBES: Mapping[str, tuple[str, ...]] = {
    "+client|no-touch": ("CLIENT", "NO-TOUCH", "OFF"),
    "+client|setinfo": ("CLIENT", "SETINFO", "LIB-NAME", "maintenance"),
    "+client|setname": ("CLIENT", "SETNAME", "maintenance"),
    "+cluster|slots": ("CLUSTER", "SLOTS"),
    "+config|get": ("CONFIG", "GET", "maxmemory"),
    "+dbsize": ("DBSIZE",),
    "+del": ("DEL", _KEY),
    "+dump": ("DUMP", _KEY),
    "+exec": ("EXEC",),
    "+exists": ("EXISTS", _KEY),
    "+expire": ("EXPIRE", _KEY, "1"),
    "+get": ("GET", _KEY),
    "+hgetall": ("HGETALL", _KEY),
    "+hlen": ("HLEN", _KEY),
    "+info": ("INFO", "server"),
    "+latency|latest": ("LATENCY", "LATEST"),
    "+lindex": ("LINDEX", _KEY, "0"),
    "+llen": ("LLEN", _KEY),
    "+ltrim": ("LTRIM", _KEY, "0", "-1"),
    "+memory|usage": ("MEMORY", "USAGE", _KEY),
    "+mget": ("MGET", _KEY),
    "+object|encoding": ("OBJECT", "ENCODING", _KEY),
    "+object|freq": ("OBJECT", "FREQ", _KEY),
    "+object|idletime": ("OBJECT", "IDLETIME", _KEY),
    "+pexpire": ("PEXPIRE", _KEY, "1"),
    "+pexpiretime": ("PEXPIRETIME", _KEY),
    "+ping": ("PING",),
    "+pttl": ("PTTL", _KEY),
    "+randomkey": ("RANDOMKEY",),
    "+restore": ("RESTORE", _KEY, "no number", "no dump"),
    "+scan": ("SCAN", "0", "COUNT", "1"),
    "+scard": ("SCARD", _KEY),
    "+select": ("SELECT", "no number"),
    "+set": ("SET", _KEY, "", "EX", "no number"),
    "+slowlog|get": ("SLOWLOG", "GET", "1"),
    "+smembers": ("SMEMBERS", _KEY),
    "+srandmember": ("SRANDMEMBER", _KEY),
    "+srem": ("SREM", _KEY, "nobody"),
    "+strlen": ("STRLEN", _KEY),
    "+time": ("TIME",),
    "+ttl": ("TTL", _KEY),
    "+type": ("TYPE", _KEY),
    "+unlink": ("UNLINK", _KEY),
    "+unwatch": ("UNWATCH",),
    "+watch": ("WATCH", _KEY),
    "+xinfo|groups": ("XINFO", "GROUPS", _KEY),
    "+xlen": ("XLEN", _KEY),
    "+xpending": ("XPENDING", _KEY, "nobody"),
    "+xrange": ("XRANGE", _KEY, "-", "+", "COUNT", "1"),
    "+xtrim": ("XTRIM", _KEY, "MAXLEN", "1"),
    "+zadd": ("ZADD", _KEY, "no number", "nobody"),
    "+zcard": ("ZCARD", _KEY),
    "+zcount": ("ZCOUNT", _KEY, "0", "0"),
    "+zrange": ("ZRANGE", _KEY, "0", "0"),
    "+zrem": ("ZREM", _KEY, "nobody"),
    "+zremrangebyrank": ("ZREMRANGEBYRANK", _KEY, "0", "0"),
    "+zremrangebyscore": ("ZREMRANGEBYSCORE", _KEY, "0", "0"),
    # Last, since it changes what the connection means: it is closed afterwards.
    "+multi": ("MULTI",),
}


@dataclass(frozen=True, slots=True)
class Rights:
    """What was refused: rules of commands, and whether keys of the pattern are hidden.

    ``known`` is false for rules that there is no harmless command for.
    """

    missing: tuple[str, ...]
    keys_denied: bool
    unknown: tuple[str, ...] = ()


def look_for_rights(client: redis.Redis, rules: Iterable[str], key: str) -> Rights:
    """Ask for each rule with ``key``, which must not exist. Costs one exchange a rule.

    Raises redis-py's errors other than a refusal.
    """
    wanted = set(rules)
    missing: list[str] = []
    keys_denied = False
    connection: Any = client.connection_pool.get_connection()
    try:
        for rule, command in _PROBES.items():
            if rule not in wanted:
                continue
            refused = _refusal(connection, [key if part == _KEY else part for part in command])
            if refused and "command" in refused:
                missing.append(rule)
            keys_denied = keys_denied or bool(refused and "command" not in refused)
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)
    return Rights(tuple(sorted(missing)), keys_denied, tuple(sorted(wanted - set(_PROBES))))


def _refusal(connection: Any, command: list[str]) -> str:
    connection.send_command(*command)
    try:
        connection.read_response()
    except redis.exceptions.NoPermissionError as error:
        return str(error).lower()
    except redis.ResponseError:
        return ""  # the right is there: what it was asked for is nonsense
    return ""
