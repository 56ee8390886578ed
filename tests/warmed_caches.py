"""A cache that tests warm, on each kind of server, and warmers that are forgotten after each test."""

from collections.abc import Iterator

import pytest
import redis
from django.core.cache.backends.redis import RedisCache

from maintenance.caching.warmers import unregister, warmers_of

CACHE = "pages"


@pytest.fixture
def redis_url(each_server: str, each_client: redis.Redis) -> str:
    """The URL of an emptied Valkey, then of an emptied Redis."""
    return each_server


@pytest.fixture(autouse=True)
def forget_warmers() -> Iterator[None]:
    yield
    for name in warmers_of(CACHE):
        unregister(CACHE, name)


@pytest.fixture
def site_cache(redis_url: str) -> Iterator[RedisCache]:
    """The cache as the site opens it."""
    cache = RedisCache(redis_url, {})
    yield cache
    cache._cache.get_client(None, write=True).connection_pool.disconnect()
