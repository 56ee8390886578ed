"""Cached values that go stale when a model changes, declared in one line.

>>> invalidates(Review, lambda review: [f"book_reviews_{review.book_id}", "popular_books"])
... # doctest: +SKIP

Covered: ``save()`` (the keys of the old row as well, so that a review that moves to another book
drops both), ``delete()`` of an object, of a queryset and in a cascade, many-to-many relations from
either side, and what builds on these (``get_or_create``, ``asave``, the admin, forms). Proxies and
children of the model count as the model. With
:class:`~maintenance.caching.querysets.InvalidatingQuerySet` as its manager also ``update()``,
``bulk_create()`` and ``bulk_update()``.

Not covered, since Django says nothing of it: raw SQL, ``COPY`` and other programs (call
:func:`~maintenance.caching.stale.invalidate_on_commit`); ``on_delete=SET_NULL`` and database
cascades; ``add()`` of a reverse foreign key, unless ``Meta.base_manager_name`` names a manager
with that queryset; fixtures (``loaddata``). The system check ``maintenance.I001`` names models
whose bulk operations are not covered.

Keys have one gap that groups do not have: a reader that computed its value before the commit may
store it after the drop. Where that matters, read through tags or namespaces.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model
from django.db.models.signals import ModelSignal, m2m_changed, post_save, pre_delete, pre_save

from maintenance.caching.groups import Stale, keys_of
from maintenance.caching.stale import count_broken, invalidate_on_commit
from maintenance.core.errors import ConfigurationError

logger = logging.getLogger("maintenance.invalidation")

#: Objects in one query where the other side of a many-to-many relation is looked up.
OBJECTS_PER_QUERY = 1000

_OLD_KEYS = "_maintenance_stale_keys"


@dataclass(frozen=True, slots=True, eq=False)
class ModelRule:
    """One call of :func:`invalidates`."""

    model: type[Model]
    stale: Callable[[Any], Iterable[Stale]]
    cache: str
    bulk: tuple[Stale, ...] | None
    look_at_old_row: bool

    def keys(self, instance: Model) -> list[str]:
        """Return what ``instance`` makes stale. A function that raises must not fail the site:
        its error is logged and counted, and nothing is dropped for this object."""
        try:
            return keys_of(self.stale(instance))
        except Exception:
            count_broken(self.cache)
            logger.exception(
                "The invalidation rule of %s cannot say what is stale; nothing was dropped for it.",
                self.model.__name__,
            )
            return []

    def drop(self, keys: Iterable[Stale], using: str | None) -> None:
        """Drop when the transaction commits."""
        invalidate_on_commit(keys, cache=self.cache, using=using)


_rules: list[ModelRule] = []
_waiting: list[ModelRule] = []


def invalidates(
    model: type[Model],
    stale: Callable[[Any], Iterable[Stale]],
    *,
    cache: str = "default",
    bulk: Iterable[Stale] | None = None,
    look_at_old_row: bool = True,
) -> ModelRule:
    """Drop what ``stale(instance)`` names whenever an instance of ``model`` changes, on commit.

    ``stale`` returns keys of the Django cache alias ``cache``, :class:`Tag` and :class:`Namespace`.
    ``bulk`` is what bulk operations drop instead of asking each row (see
    :class:`~maintenance.caching.querysets.InvalidatingQuerySet`). ``look_at_old_row=False`` saves
    one look-up by primary key a save, where the keys never depend on what can change.

    May be called as soon as the model's class stands: in ``models.py``, an application's
    ``ready()`` or its ``maintenance_hooks.py``. Raises :class:`ConfigurationError` for what is no
    model.
    """
    given: Any = model
    if not (isinstance(given, type) and issubclass(given, Model)):
        raise ConfigurationError(f"invalidates() needs a model class, got {given!r}.")
    rule = ModelRule(
        model._meta.concrete_model or model,
        stale,
        cache,
        None if bulk is None else tuple(bulk),
        look_at_old_row,
    )
    _rules.append(rule)
    if model._meta.apps.models_ready:
        _connect(rule)
    else:
        _waiting.append(rule)
    return rule


def connect_waiting() -> None:
    """Connect the rules that were declared before all models were loaded."""
    while _waiting:
        _connect(_waiting.pop())


def forget(rule: ModelRule) -> None:
    """Take a rule back, for tests and reloads."""
    _rules.remove(rule)
    for model in _concerned(rule.model):
        if rules_of(model):
            continue
        for signal, receiver in _RECEIVERS.items():
            signal.disconnect(receiver, sender=model)
        for through in _through_models(model):
            m2m_changed.disconnect(_relation_changed, sender=through)


def rules() -> tuple[ModelRule, ...]:
    """Return every rule, in the order of declaration."""
    return tuple(_rules)


def rules_of(model: type[Model]) -> list[ModelRule]:
    """Return the rules that concern instances of ``model``."""
    return [rule for rule in _rules if issubclass(model, rule.model)]


def objects(model: type[Model], keys: list[Any], using: str) -> Iterator[Model]:
    """Yield the objects with these primary keys, some at a time."""
    for start in range(0, len(keys), OBJECTS_PER_QUERY):
        part = keys[start : start + OBJECTS_PER_QUERY]
        yield from model._base_manager.using(using).filter(pk__in=part)


# --- Receivers -----------------------------------------------------------------------------------


def _before_save(*, sender: type[Model], instance: Model, raw: bool, using: str, **_: Any) -> None:
    """Note the keys of the row as it is: one look-up by primary key a save, for all rules."""
    asking = [rule for rule in rules_of(sender) if rule.look_at_old_row]
    if raw or not asking or _is_surely_new(instance):
        return
    old = sender._base_manager.using(using).filter(pk=instance.pk).first()
    instance._state.__dict__[_OLD_KEYS] = (
        {} if old is None else {id(rule): rule.keys(old) for rule in asking}
    )


def _after_save(*, sender: type[Model], instance: Model, raw: bool, using: str, **_: Any) -> None:
    """Drop the keys of the old row and of the new one."""
    old_keys = instance._state.__dict__.pop(_OLD_KEYS, {})
    for rule in () if raw else rules_of(sender):
        rule.drop([*old_keys.get(id(rule), ()), *rule.keys(instance)], using)


def _before_delete(*, sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    """Drop the keys while the object's relations can still be followed."""
    for rule in rules_of(sender):
        rule.drop(rule.keys(instance), using)


def _relation_changed(
    *,
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """Drop the keys of the objects on either side, as far as they are of a rule's model."""
    if action not in {"post_add", "post_remove", "pre_clear"}:
        return
    for rule in rules_of(type(instance)):
        rule.drop(rule.keys(instance), using)
    wanted: dict[type[Model], list[ModelRule]] = {}
    for rule in _rules:
        kind = _kind_to_load(rule, model)
        if kind is not None:
            wanted.setdefault(kind, []).append(rule)
    others = list(pk_set or ())
    if wanted and action == "pre_clear":
        others = _related(sender, instance, model, using, reverse=reverse)
    for kind, asking in wanted.items():
        for other in objects(kind, others, using):
            for rule in asking:
                rule.drop(rule.keys(other), using)


_RECEIVERS: dict[ModelSignal, Callable[..., None]] = {
    pre_save: _before_save,
    post_save: _after_save,
    pre_delete: _before_delete,
}


def _connect(rule: ModelRule) -> None:
    # By sender: a receiver of all models would slow every deletion of the site, which Django
    # does in one statement only where nobody listens.
    for model in _concerned(rule.model):
        for signal, receiver in _RECEIVERS.items():
            signal.connect(receiver, sender=model)
        for through in _through_models(model):
            m2m_changed.connect(_relation_changed, sender=through)


def _kind_to_load(rule: ModelRule, model: type[Model]) -> type[Model] | None:
    """Return the class of the other side's objects for a rule, if it concerns them at all.

    A relation to a parent may hold a child that the rule is of: it has the parent's key.
    """
    if issubclass(model, rule.model):
        return model
    return rule.model if issubclass(rule.model, model) else None


def _concerned(model: type[Model]) -> list[type[Model]]:
    """Return the model, its proxies and its children: each sends signals of its own."""
    found = [one for one in model._meta.apps.get_models() if issubclass(one, model)]
    return found if model in found or model._meta.abstract else [model, *found]


def _through_models(model: type[Model]) -> set[type[Model]]:
    """Return the tables between ``model`` and others, whichever side declares the relation."""
    relations: list[Any] = [field.remote_field for field in model._meta.many_to_many]
    relations += [one for one in model._meta.related_objects if one.many_to_many]
    return {relation.through for relation in relations}


def _is_surely_new(instance: Model) -> bool:
    """Whether no row can have this key yet: it has none, or just got one by its default."""
    if instance.pk is None:
        return True
    return instance._state.adding and instance._meta.pk.has_default()


def _related(
    through: type[Model], instance: Model, model: type[Model], using: str, *, reverse: bool
) -> list[Any]:
    """Return the keys of the objects that ``instance`` is about to lose."""
    holder = model if reverse else type(instance)
    field = next(f for f in holder._meta.many_to_many if f.remote_field.through is through)
    mine, theirs = field.m2m_field_name(), field.m2m_reverse_field_name()
    if reverse:
        mine, theirs = theirs, mine
    links = through._base_manager.using(using).filter(**{mine: instance})
    return list(links.values_list(f"{theirs}__pk", flat=True))
