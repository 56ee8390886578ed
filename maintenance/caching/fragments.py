"""Warming of template fragments: ``{% cache 900 sidebar book.id %} ... {% endcache %}``."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.core.cache.utils import make_template_fragment_key
from django.template import TemplateDoesNotExist
from django.template.base import Template
from django.template.context import make_context
from django.template.loader import get_template
from django.templatetags.cache import CacheNode

from maintenance.caching.groups import Group
from maintenance.caching.warmers import Warmer, groups_of, register
from maintenance.core.errors import ConfigurationError


def warm_fragment(
    fragment_name: str,
    *,
    template: str,
    contexts: Callable[[], Iterable[Mapping[str, Any]]],
    ttl_seconds: int,
    cache: str = "default",
    timeout_seconds: float = 60.0,
    name: str = "",
    after: Group | Iterable[Group] = (),
) -> None:
    """Register a fragment of ``template``, once for each context that it is rendered with.

    ``template`` is the file in which the ``{% cache %}`` tag itself stands, not one that extends
    or includes it. What the fragment varies on is resolved by the tag's own expressions, so that
    the key is the one that the page looks for; a context has all that the fragment uses, for no
    request and no context processor stands behind it. ``ttl_seconds`` is the tag's own, and
    ``cache`` the target of the alias that the tag uses: ``template_fragments`` where the settings
    have it, else ``default``. Once a group of ``after`` is dropped, the fragments are rendered again,
    and visitors have the old ones until then. Raises :class:`ConfigurationError`.

    >>> warm_fragment(
    ...     "sidebar",
    ...     template="books/sidebar.html",
    ...     contexts=lambda: ({"book": book} for book in Book.objects.popular()[:100]),
    ...     ttl_seconds=900,
    ... )
    """

    def rendered() -> dict[str, str]:
        return dict(rendered_fragments(fragment_name, template, contexts()))

    rendered.__module__, rendered.__qualname__ = contexts.__module__, contexts.__qualname__
    register(
        Warmer(
            name or f"fragment {fragment_name}",
            cache,
            rendered,
            key=None,
            ttl_seconds=ttl_seconds,
            timeout_seconds=timeout_seconds,
            prefix=f"template.cache.{fragment_name}",
            after=groups_of(after),
        )
    )


def rendered_fragments(
    fragment_name: str, template_name: str, contexts: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield key and text of the fragment for each context, as its tag would store them.

    Raises :class:`ConfigurationError` where the template or the fragment in it does not exist.
    """
    template = _template(template_name)
    node = _node(template, fragment_name, template_name)
    for given in contexts:
        context = make_context(dict(given), autoescape=template.engine.autoescape)
        with context.render_context.push_state(template), context.bind_template(template):
            varies_on = [expression.resolve(context) for expression in node.vary_on]
            yield (
                make_template_fragment_key(fragment_name, varies_on),
                node.nodelist.render(context),
            )


def _template(name: str) -> Template:
    try:
        found = getattr(get_template(name), "template", None)
    except TemplateDoesNotExist:
        raise ConfigurationError(f"There is no template {name}.") from None
    if not isinstance(found, Template):
        raise ConfigurationError(f"{name} is no template of Django's own engine.")
    return found


def _node(template: Template, fragment_name: str, template_name: str) -> Any:
    for node in template.nodelist.get_nodes_by_type(CacheNode):
        if getattr(node, "fragment_name", None) == fragment_name:
            return node
    raise ConfigurationError(
        f"{template_name} has no {{% cache %}} tag with the fragment {fragment_name}. Name the file"
        " in which the tag itself stands."
    )
