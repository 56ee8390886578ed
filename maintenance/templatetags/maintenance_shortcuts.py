"""Links that the admin's index pages show: run a task, look into Flower."""

from typing import Any

from django import template

from maintenance.admin.rights import runnable_tasks
from maintenance.conf import configuration

register = template.Library()


@register.inclusion_tag("admin/maintenance/shortcuts.html", takes_context=True)
def maintenance_shortcuts(context: template.Context) -> dict[str, Any]:
    """Show what the person of this request may use."""
    return {
        "may_run_tasks": bool(runnable_tasks(context["request"].user)),
        "flower_url": configuration().flower_url,
    }
