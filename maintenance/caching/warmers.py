"""The register of warmers: what is computed for a cache before a visitor waits for it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from maintenance.caching.groups import Group
from maintenance.caching.namespaces import Namespace
from maintenance.caching.tags import Tag
from maintenance.core.errors import ConfigurationError

Function = TypeVar("Function", bound=Callable[[], Any])


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One GET request of a page: its whole URL and the headers that it varies on."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warmer:
    """One registered function.

    ``key`` is ``None`` for one that returns many keys. One that names ``pages`` returns
    :class:`PageRequest`s, whose pages Django's own cache middleware stores. ``prefix`` is the key
    prefix of its values (:mod:`maintenance.caching.key_prefixes`), empty where it is not known. Its
    values belong to ``tags`` and ``namespace``; it runs again when these or ``after`` are dropped.
    """

    name: str
    cache: str
    function: Callable[[], Any]
    key: str | None
    ttl_seconds: int
    timeout_seconds: float
    prefix: str = ""
    pages: str = ""
    tags: tuple[str, ...] = ()
    namespace: str = ""
    after: tuple[Group, ...] = ()

    @property
    def is_pages(self) -> bool:
        """Whether the function returns pages to render."""
        return bool(self.pages)

    @property
    def many(self) -> bool:
        """Whether the function returns a mapping of keys to values."""
        return self.key is None and not self.is_pages

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups whose drop makes it run again."""
        own = (Namespace(self.namespace),) if self.namespace else ()
        return (*map(Tag, self.tags), *own, *self.after)

    @property
    def beginning(self) -> str:
        """What all of its keys begin with, as far as it is known before they are computed."""
        if self.namespace:
            return f"{self.namespace}:"
        return self.prefix if self.key is None else self.key

    @property
    def source(self) -> str:
        """Module and name of the function, or the URL of the page."""
        return self.pages or f"{self.function.__module__}.{self.function.__qualname__}"


_registered: dict[tuple[str, str], Warmer] = {}


def warmer(
    *,
    ttl_seconds: int,
    key: str | None = None,
    many: bool = False,
    cache: str = "default",
    timeout_seconds: float = 60.0,
    name: str = "",
    prefix: str = "",
    tags: Iterable[str] = (),
    namespace: str = "",
    after: Group | Iterable[Group] = (),
) -> Callable[[Function], Function]:
    """Register a function without arguments as a warmer of the cache target ``cache``.

    It returns the value of ``key`` or, with ``many=True``, a mapping of keys to values. ``name``
    defaults to the function's own. What takes longer than ``timeout_seconds`` is cut off: its
    queries are cancelled and its value is dropped, the old one stays. Of many keys, ``prefix``
    says of which kind they are: it puts the warmer in its place among the others, and makes it
    run again after its keys were invalidated.

    ``tags`` and ``namespace`` are the groups that its values belong to. They are stored as members
    of these: read them with :func:`~maintenance.caching.tags.tagged_get`, or by the
    :class:`~maintenance.caching.namespaces.Namespace`. Once a group is dropped, the warmer runs
    again. Of ``after`` only that is true: the value stands under its key as it is, and the old one
    stays until the new one is there. Raises :class:`ConfigurationError`.

    >>> @warmer(key="home:trending", ttl_seconds=900)
    ... def trending() -> list[int]: ...
    """

    def decorate(function: Function) -> Function:
        chosen = name or function.__name__
        if isinstance(tags, str):
            raise ConfigurationError(
                f'Warmer "{chosen}" needs a list of names, tags=["{tags}"], got "{tags}".'
            )
        if (key is not None) == many:
            raise ConfigurationError(
                f'Warmer "{chosen}" needs either key="..." for one value or many=True for a'
                " mapping of keys to values."
            )
        register(
            Warmer(
                *(chosen, cache, function, key, ttl_seconds, timeout_seconds, prefix),
                tags=tuple(dict.fromkeys(tags)),
                namespace=namespace,
                after=groups_of(after),
            )
        )
        return function

    return decorate


def warm_view(
    urls: str | Callable[[], Iterable[str]],
    *,
    headers: Iterable[Mapping[str, str]] = (),
    cache: str = "default",
    timeout_seconds: float = 60.0,
    name: str = "",
    after: Group | Iterable[Group] = (),
) -> None:
    """Register the pages of cached views, once for each set of ``headers`` that they vary on.

    ``urls`` are whole URLs as visitors use them (``https://books.example/popular/``), for scheme
    and host are part of a page's key; a function of them may ask the database. ``cache`` is the
    cache target of the alias that ``cache_page`` or ``UpdateCacheMiddleware`` writes to, which
    takes the time-out from the response as ever. ``timeout_seconds`` is for one page. Once a group
    of ``after`` is dropped, the pages are rendered again, and visitors have the old ones until then.
    How a page is rendered stands in :mod:`maintenance.caching.pages`. Raises
    :class:`ConfigurationError`.

    >>> warm_view("https://books.example/", headers=[{"Accept-Language": "en"}], name="front page")
    """
    variants = tuple(dict(variant) for variant in headers) or ({},)

    def requests() -> list[PageRequest]:
        found = [urls] if isinstance(urls, str) else urls()
        return [PageRequest(url, variant) for url in found for variant in variants]

    if isinstance(urls, str) and "://" not in urls:
        raise ConfigurationError(
            f'warm_view needs a whole URL, got "{urls}": scheme and host are part of a page\'s key.'
        )
    chosen = name or (urls if isinstance(urls, str) else urls.__name__)
    register(
        Warmer(
            chosen,
            cache,
            requests,
            key=None,
            ttl_seconds=1,  # the response says it
            timeout_seconds=timeout_seconds,
            prefix="views.decorators.cache.cache_page",
            pages=urls if isinstance(urls, str) else f"{urls.__module__}.{urls.__qualname__}",
            after=groups_of(after),
        )
    )


def groups_of(given: Group | Iterable[Group]) -> tuple[Group, ...]:
    """Return one group or several as a tuple."""
    return (given,) if isinstance(given, Tag | Namespace) else tuple(given)


def register(made: Warmer) -> None:
    """Add a warmer. Raises :class:`ConfigurationError` for one that cannot work."""
    if made.ttl_seconds <= 0 or made.timeout_seconds <= 0:
        raise ConfigurationError(
            f'Warmer "{made.name}" needs a ttl_seconds and a timeout_seconds above 0.'
        )
    for group in made.after:
        if not isinstance(group, Tag | Namespace):
            raise ConfigurationError(
                f'Warmer "{made.name}" cannot come after {group!r}: name groups, as in'
                ' after=[Tag("books"), Namespace("sidebar")].'
            )
    other = _registered.get((made.cache, made.name))
    # The same function comes again when its module is reloaded.
    if other is not None and other.source != made.source:
        raise ConfigurationError(
            f'Two warmers of cache "{made.cache}" are named "{made.name}": {other.source} and'
            f' {made.source}. Give one of them another name="...".'
        )
    _registered[made.cache, made.name] = made


def warmers_of(cache: str) -> Mapping[str, Warmer]:
    """Return the warmers of one cache target by name, in the order of registration."""
    return {name: made for (owner, name), made in _registered.items() if owner == cache}


def unregister(cache: str, name: str) -> None:
    """Forget a warmer, for tests and reloads. Unknown names are ignored."""
    _registered.pop((cache, name), None)
