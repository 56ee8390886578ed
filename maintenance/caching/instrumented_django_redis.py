"""The cache of django-redis, counting: see :mod:`maintenance.caching.instrumented`."""

import django_redis.cache

from maintenance.caching.instrumented import Instrumented


class RedisCache(Instrumented, django_redis.cache.RedisCache):  # type: ignore[misc]  # it has no types
    """The backend of django-redis with all its methods, counting."""
