"""Warming of cached pages and template fragments, on a real Valkey and through the whole site."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.urls import path
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_headers

from maintenance.caching.backend import client_of
from maintenance.caching.fragments import warm_fragment
from maintenance.caching.options import WarmOptions
from maintenance.caching.stampede import get_or_compute
from maintenance.caching.warmers import unregister, warm_view, warmers_of
from maintenance.caching.warming import warm_caches
from maintenance.conf import CacheTarget
from maintenance.core.job import Job
from maintenance.core.reports import Report

TARGET = "pages"
rendered: list[str] = []
broken: list[str] = []


@cache_page(600, cache="pages")
@vary_on_headers("X-Theme")
def front_page(request: HttpRequest) -> HttpResponse:
    rendered.append(request.headers.get("X-Theme", ""))
    if broken:
        raise RuntimeError("no such shelf")
    return HttpResponse(f"page {len(rendered)} in {request.headers.get('X-Theme', 'no theme')}")


def uncached_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fresh")


@cache_page(600, cache="pages")
def busy_page(request: HttpRequest) -> HttpResponse:
    """A page that uses the cache itself, by its operator and under a lock."""
    cache = caches["pages"]
    client = client_of(cache)
    assert client is not None

    def compute() -> list[bytes]:
        return list(client.scan_iter("*maintenance-flight*"))

    flights = get_or_compute("flights", compute, 600, cache="pages")
    return HttpResponse(f"{len(flights)} flight, {'flights' in cache}, {'nothing' in cache}")


urlpatterns = [
    path("front/", front_page),
    path("uncached/", uncached_page),
    path("busy/", busy_page),
]


@pytest.fixture(autouse=True)
def site(redis_url: str) -> Iterator[None]:
    """The project with these pages, whose cache is the Valkey of the session."""
    backend = "django.core.cache.backends.redis.RedisCache"
    cached = {alias: {"BACKEND": backend, "LOCATION": redis_url} for alias in ("default", "pages")}
    rendered.clear()
    broken.clear()
    with override_settings(ROOT_URLCONF=__name__, CACHES=cached):
        yield
        caches["pages"]._cache.get_client(None, write=True).connection_pool.disconnect()
    for name in warmers_of(TARGET):
        unregister(TARGET, name)


def warm(**options: Any) -> Report:
    return warm_caches(Job(TARGET, CacheTarget(alias="pages"), WarmOptions(**options)))


def visit(theme: str = "") -> str:
    headers = {"X-Theme": theme} if theme else {}
    answer = Client(headers=headers).get("/front/", HTTP_HOST="localhost")
    return answer.content.decode()


def test_a_visitor_finds_the_page_that_was_warmed_for_each_header() -> None:
    themes = [{"X-Theme": "dark"}, {"X-Theme": "light"}]
    warm_view("http://localhost/front/", headers=themes, cache=TARGET, name="front")
    report = warm()
    assert report.summary == "2 values written by 1 warmer."
    assert report.findings == ()
    assert rendered == ["dark", "light"]
    assert (visit("dark"), visit("light")) == ("page 1 in dark", "page 2 in light")
    assert rendered == ["dark", "light"]


def test_a_warm_page_is_rendered_anew_or_left_alone() -> None:
    warm_view("http://localhost/front/", headers=[{"X-Theme": "dark"}], cache=TARGET, name="front")
    warm()
    assert warm(cold_only=True).summary == "Nothing to do: every value of 1 warmer is there."
    assert warm(expiring_within_seconds=60).summary.startswith("Nothing to do")
    assert rendered == ["dark"]
    report = warm()
    assert report.tables[0].rows[0][1] == "warm"
    assert visit("dark") == "page 2 in dark"
    warm(expiring_within_seconds=6000)
    assert visit("dark") == "page 3 in dark"


def test_a_page_that_breaks_keeps_its_old_copy_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warm_view("http://localhost/front/", headers=[{"X-Theme": "dark"}], cache=TARGET, name="front")
    warm()
    broken.append("now")
    (found,) = warm().findings
    assert found.sentence == (
        "Warmer front wrote nothing: it answered with status 500. What was cached before stays"
        " until its time-out."
    )
    assert visit("dark") == "page 1 in dark"
    assert "Internal Server Error: /front/" in caplog.text


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.redis.RedisCache",
        "django_redis.cache.RedisCache",
        "maintenance.caching.instrumented.RedisCache",
        "maintenance.caching.instrumented_django_redis.RedisCache",
    ],
)
def test_a_page_uses_its_cache_as_it_does_for_visitors(
    redis_url: str, client: redis.Redis, backend: str
) -> None:
    warm_view("http://localhost/busy/", cache=TARGET, name="busy")
    with override_settings(CACHES={"pages": {"BACKEND": backend, "LOCATION": redis_url}}):
        report = warm()
        assert report.findings == ()
        assert report.summary == "1 value written by 1 warmer."
        answer = Client().get("/busy/", HTTP_HOST="localhost")
        assert answer.content.decode() == "1 flight, True, False"
        opened = client_of(caches["pages"])
        assert opened is not None
        opened.connection_pool.disconnect()


def test_a_page_that_nobody_caches_is_named_and_the_others_are_stored() -> None:
    urls = ["http://localhost/front/", "http://localhost/uncached/"]
    warm_view(lambda: urls, headers=[{"X-Theme": "dark"}], cache=TARGET, name="all")
    report = warm()
    (found,) = report.findings
    assert found.code == "warmed-pages-failed"
    assert "1 of 2 pages of all were not stored" in found.sentence
    assert "http://localhost/uncached/, because its response was not stored" in found.sentence
    assert visit("dark") == "page 1 in dark"


def test_headers_that_visitors_send_and_the_warmer_does_not_are_named() -> None:
    warm_view("http://localhost/front/", cache=TARGET, name="front")
    (found,) = warm().findings
    assert found.code == "warmed-page-varies"
    assert "vary on X-Theme, which the warmer does not send" in found.sentence


def test_a_target_by_url_cannot_render_pages(redis_url: str) -> None:
    warm_view("http://localhost/front/", cache=TARGET, name="front")
    report = warm_caches(Job(TARGET, CacheTarget(url=redis_url), WarmOptions()))
    assert "Give this cache target the alias" in report.findings[0].advice


def books(*numbers: int) -> list[dict[str, Any]]:
    return [{"book": {"id": number, "title": f"Book <{number}>"}} for number in numbers]


def test_a_template_finds_the_fragments_that_were_warmed() -> None:
    warm_fragment(
        "book_sidebar",
        template="testapp/book.html",
        contexts=lambda: books(1, 2),
        ttl_seconds=900,
        cache=TARGET,
    )
    assert warm().summary == "2 values written by 1 warmer."
    page = render_to_string("testapp/book.html", {"book": {"id": 2, "title": "Renamed"}})
    assert page.strip() == "<main><aside>Book &lt;2&gt;</aside></main>"
    cold = render_to_string("testapp/book.html", {"book": {"id": 3, "title": "Cold"}})
    assert "Cold" in cold


@pytest.mark.parametrize(
    ("fragment", "template", "says"),
    [
        ("sidebar", "testapp/book.html", "no {% cache %} tag with the fragment sidebar"),
        ("book_sidebar", "testapp/absent.html", "There is no template testapp/absent.html"),
    ],
)
def test_a_fragment_that_does_not_exist_is_named(fragment: str, template: str, says: str) -> None:
    warm_fragment(
        fragment, template=template, contexts=lambda: books(1), ttl_seconds=900, cache=TARGET
    )
    assert says in warm().findings[0].sentence


def test_pages_are_stored_under_the_keys_that_the_middleware_reads(redis_url: str) -> None:
    warm_view("http://localhost/front/", headers=[{"X-Theme": "dark"}], cache=TARGET, name="front")
    warm()
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.keys("*cache_page*"))
        visit("dark")
        assert set(client.keys("*cache_page*")) == before
        assert len(before) == 1
