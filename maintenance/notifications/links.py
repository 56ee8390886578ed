"""Where in the admin a message leads to; nowhere, where its address is not configured."""

from collections.abc import Sequence
from typing import Any

from django.urls import NoReverseMatch, reverse

from maintenance.conf import configuration


def link_to(view: str, arguments: Sequence[Any] = (), anchor: str = "") -> str:
    """Return the whole address of a page of the admin, empty where nobody can know it."""
    base = configuration().notifications.base_url
    if not base:
        return ""
    try:
        path = reverse(f"admin:{view}", args=list(arguments))
    except NoReverseMatch:  # a site without the admin, or one of another name
        return ""
    return f"{base}{path}{f'#{anchor}' if anchor else ''}"


def link_to_finding(run_id: object, fingerprint: str) -> str:
    """Return the address of a finding in the report of its run."""
    return link_to("maintenance_run_change", [run_id], f"finding-{fingerprint}") if run_id else ""


def link_to_run(run_id: object) -> str:
    """Return the address of a run's page."""
    return link_to("maintenance_run_change", [run_id]) if run_id else ""


def link_to_findings() -> str:
    """Return the address of the list of findings."""
    return link_to("maintenance_storedfinding_changelist")


def link_to_dashboard() -> str:
    """Return the address of the dashboard."""
    return link_to("app_list", ["maintenance"])
