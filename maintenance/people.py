"""Who acts: what a person may, and under which name it is noted, whatever user class the project has.

Django's admin asks a user class for ``has_perm`` and ``get_username`` and for no base class with them.
"""

from typing import TYPE_CHECKING, TypeAlias

from maintenance.models import Run

if TYPE_CHECKING:  # pages for programs are there without django.contrib.auth, too
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

User: TypeAlias = "AbstractBaseUser | AnonymousUser"


def holds(user: User, permission: str) -> bool:
    """Tell whether somebody who is logged in has a permission, by whatever rule their class has."""
    has_perm = getattr(user, "has_perm", None)
    return user.is_authenticated and callable(has_perm) and bool(has_perm(permission))


def noted_name(user: User) -> str:
    """Return a person's name, cut to what the columns of the ledger hold: an address may be longer."""
    return str(user.get_username())[: Run._meta.get_field("actor").max_length]
