"""Families of streams: which keys they are, how long and old they may be, whose they are."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from maintenance.conf.redis import RedisTarget
from maintenance.conf.values import Ratio, Section
from maintenance.core.globs import common_key


class StreamFamily(Section):
    """Keys of one kind that must not grow past ``max_length`` members.

    ``pattern`` finds them, or ``provider``, a registered callable, names them. ``keep`` says which
    end stays: ``highest`` or ``lowest`` scores of a sorted set, ``head`` or ``tail`` of a list; a
    Redis stream always keeps its newest entries, and those that one of its consumer groups has not been
    given or has not acknowledged, unless ``ignore_groups`` says that they may go. Members older than ``max_age_seconds`` go as well:
    the scores of a sorted set are then times since the epoch in ``score_unit`` (negative ones where
    the lowest stay), those of a stream are its entry IDs.

    A key has one limit: two patterns that can match it are refused, a key that a provider names and
    another family's pattern matches is that one's, and what two providers name is left alone.

    ``companions`` are keys that belong to a stream, such as ``{key}-unread``: they are never
    trimmed, and go where their stream is removed, or with their owner where it is not there any
    more. ``owners`` names those whose streams these are;
    the one ``*`` of the pattern stands for the owner's id then.
    """

    redis: str
    pattern: str = ""
    provider: str = ""
    type: Literal["zset", "list", "stream"] = "zset"
    max_length: int = Field(gt=0)
    max_age_seconds: float | None = Field(default=None, gt=0)
    score_unit: Literal["seconds", "milliseconds"] = "seconds"
    keep: Literal["highest", "lowest", "head", "tail", "newest"] | None = None
    companions: tuple[str, ...] = ()
    owners: str = ""
    ignore_groups: bool = False
    # The most: fewer where the server takes more than half a millisecond for them. A SCAN of 1,000 is
    # a quarter of that.
    keys_per_batch: int = Field(default=1000, gt=0, le=10_000)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.pattern) == bool(self.provider):
            raise ValueError('give either "pattern" or "provider" (a registered callable)')
        return self

    @model_validator(mode="after")
    def _keep_fits_type(self) -> Self:
        fits = {"zset": ("highest", "lowest"), "list": ("head", "tail"), "stream": ("newest",)}
        if self.keep is not None and self.keep not in fits[self.type]:
            raise ValueError(f'"keep" of a {self.type} must be one of {", ".join(fits[self.type])}')
        return self

    @model_validator(mode="after")
    def _ages_fit_type(self) -> Self:
        if self.type == "list" and self.max_age_seconds is not None:
            raise ValueError(
                '"max_age_seconds" is for sorted sets and streams: a list has no times'
            )
        if self.score_unit != "seconds" and self.type != "zset":
            raise ValueError('"score_unit" is for sorted sets')
        return self

    @model_validator(mode="after")
    def _groups_fit_type(self) -> Self:
        if self.ignore_groups and self.type != "stream":
            raise ValueError('"ignore_groups" is for streams: nothing else has consumer groups')
        return self

    @model_validator(mode="after")
    def _companions_belong_to_their_stream(self) -> Self:
        for template in self.companions:
            if template.count("{key}") != 1 or template == "{key}":
                raise ValueError(
                    f'the companion "{template}" must hold {{key}} once and more than that,'
                    ' as "{key}-unread" does'
                )
        return self

    @model_validator(mode="after")
    def _owners_stand_in_the_pattern(self) -> Self:
        if self.owners and (self.pattern.count("*") != 1 or set("?[]\\") & set(self.pattern)):
            raise ValueError(
                '"owners" needs a pattern with one "*", which stands for the owner\'s id, and no'
                " other wildcard"
            )
        return self

    @property
    def kept_end(self) -> str:
        """The end that stays: as configured, else highest scores, head of a list, newest."""
        return self.keep or {"zset": "highest", "list": "head", "stream": "newest"}[self.type]


class StreamOwners(Section):
    """Whose streams may stay, for removing those of owners who are gone.

    A query (``sql`` on one of the databases) or a registered function (``provider``) gives their
    ids, one column of them. ``answers`` says who they are: with ``kept`` every other owner is gone,
    with ``gone`` nobody else is. ``exceptions`` are ids whose streams stay in any case. Where more
    than ``share_limit_ratio`` of a family would go, nothing does.
    """

    answers: Literal["kept", "gone"]
    database: str = ""
    sql: str = ""
    provider: str = ""
    exceptions: tuple[str, ...] = ()
    # Sites that drop feeds of inactive users lose about a third of them the first time.
    share_limit_ratio: Ratio = 0.4

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.database) != bool(self.sql):
            raise ValueError('"database" and "sql" belong together')
        if bool(self.sql) == bool(self.provider):
            raise ValueError('give either "sql" with its "database", or "provider"')
        return self


def overlaps_of(
    families: Mapping[str, StreamFamily], servers: Mapping[str, RedisTarget]
) -> Iterator[tuple[str, str]]:
    """Yield the later of two families of one type and database whose patterns match the same key, and why.

    Which keys a provider names is known to nobody before it is asked, and which servers are one cluster
    to nobody before one is: a trim looks at those.
    """
    for (name, one), (other_name, other) in combinations(families.items(), 2):
        if one.type != other.type or not (one.pattern and other.pattern):
            continue
        if one.redis != other.redis and not servers[one.redis].shares_keys_with(
            servers[other.redis]
        ):
            continue
        key = common_key(one.pattern, other.pattern)
        if key is not None:
            yield (
                other_name,
                (
                    f'streams.{name} and streams.{other_name} overlap: "{key}" matches both'
                    f' "{one.pattern}" and "{other.pattern}", and one key can have one limit only.'
                    " Narrow one of the patterns"
                ),
            )
