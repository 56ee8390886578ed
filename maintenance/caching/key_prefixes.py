"""Which keys of a cache are of one kind: the part of a key that its code wrote, without its values."""

import re

#: Keys whose kind cannot be told, and those of kinds beyond the number that is kept.
OTHER = "(other)"
LONGEST_PREFIX = 100

# Words that are letters alone, up to the first ":", digit or end. Five, because Django's own longest
# prefix has five: views.decorators.cache.cache_page. No word of a program is longer than 32 letters;
# what is longer is a token.
_WORD = r"[A-Za-z]{1,32}(?![A-Za-z0-9])"
_WORDS = re.compile(rf"{_WORD}(?:[._/|-]{_WORD}){{0,4}}")


def prefix_of(key: str) -> str:
    """Return the kind of ``key``, as :data:`OTHER` where it begins with a value.

    It ends at the first ``:`` and before the first part with a digit: ``book-rating-17`` is a
    ``book-rating``, ``user:alice:feed`` a ``user``. A name that is not set off by ``:`` and has no
    digit (``profile-alice``) cannot be told from a word: such a site gives a rule of its own, see
    :mod:`maintenance.caching.instrumented`.
    """
    found = _WORDS.match(key)
    return found[0] if found else OTHER
