"""An application's own stream classes: registered they are trimmed with the configured families.

    from maintenance.redis.stream_classes import Stream, register_stream

    @register_stream
    class HomeStream(Stream):
        redis = "streams"
        pattern = "*-home"
        max_length = 200

    HomeStream().trim()

An application registers its classes in ``maintenance_hooks.py``, as it does its warmers.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from maintenance.conf import (
    Configuration,
    StreamFamily,
    configuration,
    overlaps_of,
    sentence_of_faults,
)
from maintenance.core.errors import ConfigurationError
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known
from maintenance.redis.providers import key_provider
from maintenance.redis.stream_options import TrimOptions


class Stream:
    """Base of stream classes. A subclass sets what :class:`~maintenance.conf.StreamFamily` takes.

    ``redis`` and ``max_length`` are needed, and either ``pattern`` or a method ``keys()`` that
    yields the keys. ``name`` is the class's own without "Stream", in lower case, unless set.
    """

    name: ClassVar[str] = ""
    redis: ClassVar[str]
    max_length: ClassVar[int]

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Give the class its name."""
        super().__init_subclass__(**keywords)
        if "name" not in cls.__dict__:
            cls.name = (cls.__name__.removesuffix("Stream") or cls.__name__).lower()

    def keys(self) -> Iterable[str | bytes]:
        """Yield the keys of the streams, where no ``pattern`` finds them."""
        raise NotImplementedError(f"{type(self).__name__} has neither a pattern nor keys().")

    @classmethod
    def source(cls) -> str:
        """Module and name of the class."""
        return f"{cls.__module__}.{cls.__qualname__}"

    @classmethod
    def family(cls) -> StreamFamily:
        """Return the rule of this class. Raises :class:`ConfigurationError` with every fault."""
        given = {
            field: getattr(cls, field) for field in StreamFamily.model_fields if hasattr(cls, field)
        }
        if cls.keys is not Stream.keys:
            key_provider(cls.source())(cls().keys)
            given["provider"] = cls.source()
        try:
            return StreamFamily.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(f"{cls.source()}: {sentence_of_faults(error)}") from None

    def trim(self, *keys: str | bytes, dry_run: bool = False) -> Report:
        """Cut these streams, all of the class where none is named, to their limits; return a report.

        Raises as :func:`maintenance.redis.streams.trim_streams`, and :class:`ConfigurationError`
        where another family can have a key in common.
        """
        # Every process of a site holds its stream classes, and few trim any.
        from maintenance.redis.streams import trim_streams  # noqa: PLC0415

        configured = configuration()
        target = configured.redis[require_known("Redis target", self.redis, configured.redis)]
        families = {**all_families(configured), self.name: self.family()}
        _require_one_limit(families, configured)
        job = Job(self.redis, target, TrimOptions(dry_run=dry_run, families=(self.name,)))
        named = {self.name: [k.encode() if isinstance(k, str) else k for k in keys]} if keys else {}
        return trim_streams(job, families, named, configured.redis)


StreamT = TypeVar("StreamT", bound=type[Stream])

_registered: dict[str, type[Stream]] = {}


def register_stream(cls: StreamT) -> StreamT:
    """Have the scheduled trims look after the streams of a class.

    Raises :class:`ConfigurationError` for a class whose rule is faulty, and where another class has
    its name.
    """
    cls.family()
    other = _registered.get(cls.name)
    # The same class comes again when its module is reloaded.
    if other is not None and other.source() != cls.source():
        raise ConfigurationError(
            f'Two stream classes are named "{cls.name}": {other.source()} and {cls.source()}.'
            ' Give one of them another name = "...".'
        )
    _registered[cls.name] = cls
    return cls


def unregister_stream(name: str) -> None:
    """Forget a class, for tests and reloads. Unknown names are ignored."""
    _registered.pop(name, None)


def all_families(configured: Configuration) -> Mapping[str, StreamFamily]:
    """Return the configured families and those of the registered classes, by name.

    Raises :class:`ConfigurationError` where two have one name, or can have a key in common, or a
    class names a Redis target that is not configured.
    """
    families = dict(configured.streams)
    for name, cls in _registered.items():
        if name in families:
            raise ConfigurationError(
                f'streams.{name} is configured, and {cls.source()} is registered as "{name}".'
                " Remove one of them, or give the class another name."
            )
        families[name] = cls.family()
        require_known(f"Redis target of {cls.source()}", cls.redis, configured.redis)
    _require_one_limit(families, configured)
    return families


def _require_one_limit(families: Mapping[str, StreamFamily], configured: Configuration) -> None:
    faults = [f"{fault}." for _, fault in overlaps_of(families, configured.redis)]
    if faults:
        raise ConfigurationError("\n".join(faults))


def families_on(configured: Configuration, redis_name: str) -> dict[str, StreamFamily]:
    """Return those of :func:`all_families` that live on one Redis target. Raises as it does."""
    return {n: f for n, f in all_families(configured).items() if f.redis == redis_name}
