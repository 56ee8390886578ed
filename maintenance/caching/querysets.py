"""A queryset whose bulk operations drop what they make stale."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from maintenance.caching.signals import ModelRule, objects, rules_of


class InvalidatingQuerySet(QuerySet[Any]):
    """``update()``, ``bulk_update()`` and ``bulk_create()`` that know :func:`invalidates`.

    >>> objects = InvalidatingQuerySet.as_manager()  # in the model  # doctest: +SKIP

    Rules with ``bulk`` drop that. For others the rows are read before and after an update, a
    thousand at a time, and their primary keys are held meanwhile: give ``bulk`` a tag where an
    update reaches millions. Of rows that ``bulk_create(update_conflicts=True)`` changes, only what
    the new values name is dropped. ``delete()`` needs nothing of this: it sends signals.
    """

    def update(self, **values: Any) -> int:
        """Update, then drop what the rows named before and what they name now, on commit."""
        using = self._write_alias()
        asked = _asked_of_each_row(self.model)
        if asked:
            with transaction.atomic(using=using, savepoint=False):
                keys = list(self.using(using).order_by().values_list("pk", flat=True))
                self._drop_each(asked, objects(self.model, keys, using), using)
                changed = super().update(**values)
                self._drop_each(asked, objects(self.model, keys, using), using)
        else:
            changed = super().update(**values)
        # Outside of a transaction this drops at once: not before the rows are new.
        _drop_bulk(self.model, using)
        return changed

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """Create, then drop what the new objects name, on commit."""
        created = super().bulk_create(objs, *args, **options)
        using = self._write_alias()
        _drop_bulk(self.model, using)
        self._drop_each(_asked_of_each_row(self.model), created, using)
        return created

    def _write_alias(self) -> str:
        self._for_write = True
        return str(self.db)

    @staticmethod
    def _drop_each(asked: list[ModelRule], found: Iterable[Any], using: str) -> None:
        for instance in found:
            for rule in asked:
                rule.drop(rule.keys(instance), using)


def _asked_of_each_row(model: type[Any]) -> list[ModelRule]:
    """Return the rules that want to see each row that a bulk operation changes."""
    return [rule for rule in rules_of(model) if rule.bulk is None]


def _drop_bulk(model: type[Any], using: str) -> None:
    """Drop what rules name for bulk operations, whatever the rows."""
    for rule in rules_of(model):
        if rule.bulk is not None:
            rule.drop(rule.bulk, using)
