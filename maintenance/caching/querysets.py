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
        asked = _drop_bulk(self.model, self._write_alias())
        if not asked:
            return super().update(**values)
        using = self._write_alias()
        with transaction.atomic(using=using, savepoint=False):
            keys = list(self.using(using).order_by().values_list("pk", flat=True))
            self._drop_each(asked, objects(self.model, keys, using), using)
            changed = super().update(**values)
            self._drop_each(asked, objects(self.model, keys, using), using)
        return changed

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """Create, then drop what the new objects name, on commit."""
        created = super().bulk_create(objs, *args, **options)
        using = self._write_alias()
        self._drop_each(_drop_bulk(self.model, using), created, using)
        return created

    def _write_alias(self) -> str:
        self._for_write = True
        return str(self.db)

    @staticmethod
    def _drop_each(asked: list[ModelRule], found: Iterable[Any], using: str) -> None:
        for instance in found:
            for rule in asked:
                rule.drop(rule.keys(instance), using)


def _drop_bulk(model: type[Any], using: str) -> list[ModelRule]:
    """Drop what rules name for bulk operations; return the rules that want to see each row."""
    concerned = rules_of(model)
    for rule in concerned:
        if rule.bulk is not None:
            rule.drop(rule.bulk, using)
    return [rule for rule in concerned if rule.bulk is None]
