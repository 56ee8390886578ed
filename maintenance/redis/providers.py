"""The registers of what an application says about its streams: their keys, and their owners' ids."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from maintenance.core.errors import ConfigurationError
from maintenance.core.suggestions import require_known

Function = TypeVar("Function", bound=Callable[[], Iterable[Any]])

_key_providers: dict[str, Callable[[], Iterable[Any]]] = {}
_owner_providers: dict[str, Callable[[], Iterable[Any]]] = {}


def key_provider(name: str) -> Callable[[Function], Function]:
    """Register a function without arguments that yields the keys of a stream family.

    A family names it by ``provider`` in place of a pattern. Keys are text or bytes, and may be
    yielded one at a time: they are never all held at once. Raises :class:`ConfigurationError` where
    another function has the name.

    >>> @key_provider("homes")
    ... def homes() -> Iterator[str]:
    ...     yield from (f"{user.pk}-home" for user in User.objects.iterator())
    """
    return _registering("key provider", name, _key_providers)


def owner_provider(name: str) -> Callable[[Function], Function]:
    """Register a function without arguments that yields the ids of owners of streams.

    ``stream_owners`` names it by ``provider`` in place of a query. Raises as :func:`key_provider`.
    """
    return _registering("owner provider", name, _owner_providers)


def provided_keys(name: str) -> Iterator[bytes]:
    """Yield the keys that a registered provider names.

    Raises ``UnknownName`` for one that is not registered, and :class:`ConfigurationError` where it
    breaks or yields what is no key.
    """
    for key in _answers("key provider", name, _key_providers):
        if isinstance(key, str):
            yield key.encode()
        elif isinstance(key, bytes):
            yield key
        else:
            raise ConfigurationError(
                f'The key provider "{name}" yielded {key!r}, which is neither text nor bytes.'
            )


def provided_owners(name: str) -> Iterator[str]:
    """Yield the ids that a registered provider names, as text. Raises as :func:`provided_keys`."""
    for identity in _answers("owner provider", name, _owner_providers):
        if identity is not None:
            yield str(identity)


def unregister(name: str) -> None:
    """Forget the providers of this name, for tests and reloads."""
    _key_providers.pop(name, None)
    _owner_providers.pop(name, None)


def _registering(
    kind: str, name: str, register: dict[str, Callable[[], Iterable[Any]]]
) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        other = register.get(name)
        # The same function comes again when its module is reloaded.
        if other is not None and _source(other) != _source(function):
            raise ConfigurationError(
                f'Two {kind}s are named "{name}": {_source(other)} and {_source(function)}.'
                " Rename one."
            )
        register[name] = function
        return function

    return add


def _source(function: Callable[[], Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _answers(
    kind: str, name: str, register: dict[str, Callable[[], Iterable[Any]]]
) -> Iterator[Any]:
    require_known(kind, name, register)
    function = register[name]
    try:
        yield from function()
    except Exception as error:
        raise ConfigurationError(
            f'The {kind} "{name}" ({_source(function)}) raised {type(error).__name__}: {error}.'
        ) from error
