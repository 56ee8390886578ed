"""The register of warmers: functions that compute a cached value before a visitor waits for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from maintenance.core.errors import ConfigurationError

Function = TypeVar("Function", bound=Callable[[], Any])


@dataclass(frozen=True, slots=True)
class Warmer:
    """One registered function. ``key`` is ``None`` for one that returns many keys."""

    name: str
    cache: str
    function: Callable[[], Any]
    key: str | None
    ttl_seconds: int
    timeout_seconds: float

    @property
    def many(self) -> bool:
        """Whether the function returns a mapping of keys to values."""
        return self.key is None

    @property
    def source(self) -> str:
        """Module and name of the function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


_registered: dict[tuple[str, str], Warmer] = {}


def warmer(
    *,
    ttl_seconds: int,
    key: str | None = None,
    many: bool = False,
    cache: str = "default",
    timeout_seconds: float = 60.0,
    name: str = "",
) -> Callable[[Function], Function]:
    """Register a function without arguments as a warmer of the cache target ``cache``.

    It returns the value of ``key`` or, with ``many=True``, a mapping of keys to values. ``name``
    defaults to the function's own. A function that takes longer than ``timeout_seconds`` is left
    to itself and its value is dropped: the old one stays. Raises :class:`ConfigurationError`.

    >>> @warmer(key="home:trending", ttl_seconds=900)
    ... def trending() -> list[int]: ...
    """

    def register(function: Function) -> Function:
        chosen = name or function.__name__
        if (key is not None) == many:
            raise ConfigurationError(
                f'Warmer "{chosen}" needs either key="..." for one value or many=True for a'
                " mapping of keys to values."
            )
        if ttl_seconds <= 0 or timeout_seconds <= 0:
            raise ConfigurationError(
                f'Warmer "{chosen}" needs a ttl_seconds and a timeout_seconds above 0.'
            )
        made = Warmer(chosen, cache, function, key, ttl_seconds, timeout_seconds)
        other = _registered.get((cache, chosen))
        # The same function comes again when its module is reloaded.
        if other is not None and other.source != made.source:
            raise ConfigurationError(
                f'Two warmers of cache "{cache}" are named "{chosen}": {other.source} and'
                f' {made.source}. Give one of them another name="...".'
            )
        _registered[cache, chosen] = made
        return function

    return register


def warmers_of(cache: str) -> Mapping[str, Warmer]:
    """Return the warmers of one cache target by name, in the order of registration."""
    return {name: made for (owner, name), made in _registered.items() if owner == cache}


def unregister(cache: str, name: str) -> None:
    """Forget a warmer, for tests and reloads. Unknown names are ignored."""
    _registered.pop((cache, name), None)
