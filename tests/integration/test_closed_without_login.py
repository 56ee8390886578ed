"""Every page is closed without a login: walked over the resolver, so that a new one cannot be forgotten."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

pytestmark = pytest.mark.django_db

SAMPLES = {"int": "1", "uuid": str(uuid.UUID(int=1)), "str": "x", "slug": "x", "path": "x"}
#: What is open on purpose: it tells nothing, and the probe one word.
OPEN = {"admin/login/", "admin/logout/", "maintenance/health/"}
TOKEN = "0123456789abcdef" * 2


def paths(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Yield an address for each page below a resolver, with a sample for each of its arguments."""
    for entry in resolver.url_patterns:
        below = prefix + sample_of(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from paths(entry, below)
        elif isinstance(entry, URLPattern):
            yield below


def sample_of(pattern: Any) -> str:
    if isinstance(pattern, RoutePattern):
        return re.sub(r"<(?:(\w+):)?\w+>", lambda m: SAMPLES[m[1] or "str"], str(pattern))
    words = re.sub(r"\(\?P<\w+>([^|)]*)[^)]*\)", r"\1", str(pattern))
    return words.replace(".*", "x").strip("^$")


#: The site's own pages are the site's affair.
PAGES = sorted(
    path for path in set(paths(get_resolver())) if path.startswith(("admin/", "maintenance/"))
)


@pytest.fixture
def _with_tokens(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages for programs, which are not there at all without a token."""
    monkeypatch.setenv("A_TOKEN", TOKEN)
    access = dict.fromkeys(("metrics", "read", "run"), "env:A_TOKEN")
    settings.MAINTENANCE = {**settings.MAINTENANCE, "access": access}


def test_all_pages_are_walked() -> None:
    assert len(PAGES) > 60
    assert {"admin/maintenance/run/", "maintenance/metrics", "maintenance/api/v1/runs/"} <= {*PAGES}
    assert set(PAGES) >= OPEN


@pytest.mark.usefixtures("_with_tokens")
@pytest.mark.parametrize("path", [path for path in PAGES if path not in OPEN])
def test_a_page_is_closed_to_a_stranger(path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    for answer in (client.get(f"/{path}"), client.post(f"/{path}", {"_save": "1"})):
        assert is_closed(answer), f"{answer.status_code} {answer.headers.get('Location', '')}"


@pytest.mark.usefixtures("_with_tokens")
def test_all_pages_are_closed_to_a_user_who_is_no_staff() -> None:
    client = Client()
    client.force_login(User.objects.create_user("visitor"))
    closed = {path: is_closed(client.get(f"/{path}")) for path in PAGES if path not in OPEN}
    assert [path for path, is_shut in closed.items() if not is_shut] == []


def is_closed(answer: Any) -> bool:
    """Tell whether nothing was shown: sent to the login, refused, or not to be asked that way."""
    if answer.status_code == 302:
        return str(answer.headers["Location"]).startswith("/admin/login/")
    return answer.status_code in {401, 403}


def test_the_service_adds_no_page_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("site_header", "site_title", "index_title", "index_template"):
        monkeypatch.setattr(admin.site, name, getattr(admin.site, name))

    from service import urls

    assert [str(entry.pattern) for entry in urls.urlpatterns] == ["", "favicon.ico", "admin/", ""]
    icon = urls.icon(RequestFactory().get("/favicon.ico"))
    assert (icon.status_code, icon.url) == (302, "/static/maintenance/icon.svg")
    known = {path.removeprefix("maintenance/") for path in PAGES} | {"", "favicon.ico"}
    of_the_service = {path for entry in urls.urlpatterns for path in _own(entry)}
    assert of_the_service <= known | set(PAGES)


def _own(entry: Any) -> Iterator[str]:
    prefix = sample_of(entry.pattern)
    if isinstance(entry, URLResolver):
        yield from (path for path in paths(entry, prefix) if not path.startswith("admin/auth/"))
    else:
        yield prefix
