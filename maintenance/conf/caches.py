"""Caches as targets, and what of them is stale when."""

from collections.abc import Mapping
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from maintenance.conf.databases import Dangerous
from maintenance.conf.values import Rate, Section, Url
from maintenance.core.globs import matches_nearly_all


class InvalidationRule(Section):
    """Cached values that a scheduled run drops.

    By glob ``patterns`` of the key as the site writes it, by ``prefixes`` (literal text), by
    ``keys``, or as groups by ``tags`` and ``namespaces``. Of what patterns and prefixes match,
    ``keep`` names patterns that stay, and ``older_than_seconds`` spares what was read or written
    since (idle time; without it all goes). Sessions stay unless a pattern begins as their keys do.
    """

    patterns: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    older_than_seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not (self.patterns or self.prefixes or self.keys or self.tags or self.namespaces):
            raise ValueError(
                'give at least one of "patterns", "prefixes", "keys", "tags" and "namespaces"'
            )
        if any(map(matches_nearly_all, self.patterns)) or "" in self.prefixes:
            raise ValueError("a pattern that matches nearly every key is a flush, which is refused")
        if (self.keep or self.older_than_seconds) and not (self.patterns or self.prefixes):
            raise ValueError('"keep" and "older_than_seconds" are for patterns and prefixes only')
        return self


class CacheTarget(Section):
    """A Django cache: an ``alias`` of ``settings.CACHES``, or the ``url`` of its Redis.

    ``key_prefix`` and ``version`` are those of the site, so that keys come out the same.
    """

    alias: str = ""
    url: Url | None = None
    key_prefix: str = ""
    version: int = 1
    added_latency_ms: float = Field(default=5, gt=0)  # of a PING; above, our writes pause
    warmers: tuple[str, ...] = ()  # names; empty means every registered warmer of this cache
    # Values and pages that are computed, over all workers: each costs about what a visitor costs.
    warming_limit: Rate = "10/s"
    invalidate: Mapping[str, InvalidationRule] = Field(default_factory=dict)
    allow: tuple[Dangerous, ...] = ()
    max_concurrent_runs: int | None = Field(default=None, gt=0)  # over all workers

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.alias) == bool(self.url):
            raise ValueError('give either "alias" (of settings.CACHES) or "url", not both or none')
        return self
