"""Cached values that go stale when a model changes, declared in one line.

>>> invalidates(Review, lambda review: [f"book_reviews_{review.book_id}", "popular_books"])
... # doctest: +SKIP

Covered: ``save()`` (the keys of the old row as well, so that a review that moves to another book
drops both), ``delete()`` of an object, of a queryset and in a cascade, many-to-many relations from
either side (also where the object on the other side is deleted), and what builds on these
(``get_or_create``, ``asave``, the admin, forms). Proxies and children of the model count as the
model. With
:class:`~maintenance.caching.querysets.InvalidatingQuerySet` as its manager also ``update()``,
``bulk_create()`` and ``bulk_update()``.

Not covered, since Django says nothing of it: raw SQL, ``COPY`` and other programs (call
:func:`~maintenance.caching.stale.invalidate_on_commit`); ``on_delete=SET_NULL`` and database
cascades; ``add()`` of a reverse foreign key, unless ``Meta.base_manager_name`` names a manager
with that queryset; rows of a ``through`` model of one's own that are written as such (declare a rule
for that model); fixtures (``loaddata``). The system check ``maintenance.I001`` names models whose
bulk operations are not covered.

A rule on a model with many-to-many relations makes a deletion on the other side look up who is
related, a query or two for each deleted object: for a purge of very many, delete by SQL and call
:func:`~maintenance.caching.stale.invalidate_on_commit`.

Keys have one gap that groups do not have: a reader that computed its value before the commit may
store it after the drop. Where that matters, read through tags or namespaces.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        for relation in _relations(model):
            m2m_changed.disconnect(_relation_changed, sender=relation.through)
    still_watched = {model for one in _rules for model in _other_sides(one)}
    for model in _other_sides(rule) - still_watched:
        pre_delete.disconnect(_before_other_side_is_deleted, sender=model)


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
    relation = _Relation(sender, model, reverse)
    _drop_other_side(relation, instance, None if action == "pre_clear" else pk_set, using)


def _before_other_side_is_deleted(
    *, sender: type[Model], instance: Model, using: str, **_: Any
) -> None:
    """Drop the keys of the objects that lose this one: the rows between go without a signal."""
    for relation in _relations(sender):
        _drop_other_side(relation, instance, None, using)


def _drop_other_side(
    relation: "_Relation", instance: Model, pk_set: set[Any] | None, using: str
) -> None:
    """Drop the keys of the objects on the other side, of all that are related without ``pk_set``."""
    wanted: dict[type[Model], list[ModelRule]] = {}
    for rule in _rules:
        kind = _kind_to_load(rule, relation.other)
        if kind is not None:
            wanted.setdefault(kind, []).append(rule)
    if not wanted:
        return
    others = _related(relation, instance, using) if pk_set is None else list(pk_set)
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
        for relation in _relations(model):
            m2m_changed.connect(_relation_changed, sender=relation.through)
    for model in _other_sides(rule):
        pre_delete.connect(_before_other_side_is_deleted, sender=model)


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


class _Relation(NamedTuple):
    """A many-to-many relation as one side sees it: ``reverse`` where the other side declares it."""

    through: type[Model]
    other: type[Model]
    reverse: bool


def _relations(model: type[Model]) -> list[_Relation]:
    """Return the many-to-many relations of ``model``, whichever side declares them."""
    forward: list[Any] = [*model._meta.many_to_many]
    backward: list[Any] = [one for one in model._meta.related_objects if one.many_to_many]
    return [
        *(_Relation(one.remote_field.through, one.related_model, False) for one in forward),
        *(_Relation(one.through, one.related_model, True) for one in backward),
    ]


def _other_sides(rule: ModelRule) -> set[type[Model]]:
    """Return the models whose deletion takes relations from objects of a rule."""
    return {
        kind
        for model in _concerned(rule.model)
        for relation in _relations(model)
        for kind in _concerned(relation.other)
    }


def _is_surely_new(instance: Model) -> bool:
    """Whether no row can have this key yet: it has none, or just got one by its default."""
    if instance.pk is None:
        return True
    return instance._state.adding and instance._meta.pk.has_default()


def _related(relation: _Relation, instance: Model, using: str) -> list[Any]:
    """Return the keys of the objects that ``instance`` is about to lose."""
    holder = relation.other if relation.reverse else type(instance)
    through = relation.through
    field = next(f for f in holder._meta.many_to_many if f.remote_field.through is through)
    mine, theirs = field.m2m_field_name(), field.m2m_reverse_field_name()
    if relation.reverse:
        mine, theirs = theirs, mine
    links = through._base_manager.using(using).filter(**{mine: instance})
    return list(links.values_list(f"{theirs}__pk", flat=True))
