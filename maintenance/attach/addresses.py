"""Addresses as they are given, and the references by which a file names them. Pure, but for secrets in files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

from maintenance.conf.references import resolve_secret
from maintenance.core.errors import ConfigurationError, InvalidOptions

DATABASE_SCHEMES = frozenset({"postgres", "postgresql"})
REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})

_HOW = "write postgres://..., redis://... or env:NAME"
_REFERENCES = ("env:", "file:")


@dataclass(frozen=True, slots=True)
class Given:
    """One address. ``text`` is what was written, perhaps a reference; ``url`` is the address behind it."""

    text: str
    url: str

    @property
    def scheme(self) -> str:
        """What kind of server it is: one of the schemes above."""
        return urlsplit(self.url).scheme


@dataclass(frozen=True, slots=True)
class Address:
    """A server by a reference such as ``env:SITE_DATABASE_URL``, as the file names it.

    ``is_to_be_set`` is whether the variable has to be set still.
    """

    reference: str
    is_to_be_set: bool

    @property
    def name(self) -> str:
        """The variable or the file."""
        return self.reference.partition(":")[2]

    @property
    def is_file(self) -> bool:
        """Whether a file holds the address."""
        return self.reference.startswith("file:")


def addresses_given(texts: Sequence[str], environment: Mapping[str, str]) -> list[Given]:
    """Return what was given, in its order.

    Raises ``InvalidOptions`` with every fault at once; it never repeats what may hold a password.
    """
    found: list[Given] = []
    faults: list[str] = []
    for number, text in enumerate(texts, 1):
        given = Given(text, "")
        try:
            given = Given(text, resolve_secret(text, environment))
            is_address = given.scheme in DATABASE_SCHEMES | REDIS_SCHEMES and "://" in given.url
        except ConfigurationError as error:
            faults.append(f"Argument {number}: {error}")
            continue
        except ValueError:  # an IPv6 address with one bracket, half a place, a file that is no text
            is_address = False
        if is_address:
            found.append(given)
        else:
            faults.append(f"Argument {number} is no address: {_HOW}.")
    if faults:
        raise InvalidOptions("\n".join(faults))
    return found


def referred_to(
    given: Sequence[Given], variable: str, environment: Mapping[str, str]
) -> list[Address]:
    """Return by what the file names each address: its own reference, or a variable called as ``variable``.

    No variable stands for two addresses, and none that is set to another one is taken.
    """
    taken = {one.text for one in given}
    addresses: list[Address] = []
    for one in given:
        if one.text.startswith(_REFERENCES):
            addresses.append(Address(one.text, is_to_be_set=False))
            continue
        name = next(
            name
            for name in _names(variable)
            if f"env:{name}" not in taken and environment.get(name, "") in {"", one.url}
        )
        taken.add(f"env:{name}")
        addresses.append(Address(f"env:{name}", is_to_be_set=not environment.get(name)))
    return addresses


def _names(variable: str) -> Iterator[str]:
    yield variable
    yield from (f"{variable}_{number}" for number in count(2))
