"""The dashboard, on the page that every admin has for an application: no view to be wired."""

from typing import Any

from django import template

from maintenance.admin.dashboard.page import dashboard

register = template.Library()


@register.inclusion_tag("admin/maintenance/dashboard/page.html", takes_context=True)
def maintenance_dashboard(context: template.Context) -> dict[str, Any]:
    """Show what the person of this request may see."""
    request = context["request"]
    return {**dashboard(request), "request": request}
