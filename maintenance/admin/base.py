"""What the maintenance pages of the admin have in common."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise, cached_property
from django.utils.text import capfirst

from maintenance.admin.rights import explains_refusals
from maintenance.reports.formatting import format_count

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin = admin.ModelAdmin
    AnyPaginator = Paginator


#: The whole of a long history is not counted: nobody turns to its 200th page.
MOST_COUNTED = 10_000


class BoundedPaginator(AnyPaginator):
    """Pages of a list that stops counting where the number says nothing any more."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, as far as they are counted; exact where a filter is chosen."""
        if not isinstance(self.object_list, QuerySet) or self.object_list.query.where:
            return super().count
        # Of the rows alone: ordered, all of their index would be read up to the bound.
        return int(self.object_list.order_by()[: MOST_COUNTED + 1].count())

    @property
    def bound_in_words(self) -> str:
        """The number above which rows were not counted; empty where all were."""
        rows = self.object_list
        is_bounded = isinstance(rows, QuerySet) and not rows.query.where
        return format_count(MOST_COUNTED) if is_bounded and self.count > MOST_COUNTED else ""


class MaintenanceAdmin(AnyModelAdmin):
    """A list of rows that the crew writes: people look, and act through buttons of their own."""

    # Counting a million rows for a number that nobody needs takes longer than the page.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Nothing is to be said: a dash says no more, and on a phone it has lost the head of its column.
    empty_value_display = ""
    paginator = BoundedPaginator
    #: What a list without rows says in their place.
    when_empty: str | Promise = ""

    class Media:
        css: ClassVar = {"all": ["maintenance/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Nobody enters such a row by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """The retention deletes history, with its files."""
        return False

    @explains_refusals
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list under the plain name of what it lists."""
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, {**title, **(extra_context or {})})

    def page_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the templates of the pages beside the list need."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
        }


class HistoryAdmin(MaintenanceAdmin):
    """Rows that say what happened: they stay as they are."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """What happened, happened."""
        return False
