"""Static files: links of a page, what headers mean, and verdicts."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import SiteTarget, parse_configuration
from maintenance.core.errors import ConfigurationError
from maintenance.web.static.diagnosis import diagnose_answers
from maintenance.web.static.fetch import Answer
from maintenance.web.static.headers import StaticAnswer, read_answer
from maintenance.web.static.links import one_of_each_kind, readable, static_links

SITE = SiteTarget(url="https://library.example/")
YEAR = "public, max-age=31536000, immutable"


def answered(url: str = "https://library.example/static/app.3f2a9c1b00aa.css", **more: str) -> StaticAnswer:  # fmt: skip
    headers = {
        "cache-control": YEAR, "content-encoding": "gzip", "vary": "Accept-Encoding", **more
    }  # fmt: skip
    return read_answer(Answer(url, 200, headers, b"", 50_000))


def found(*answers: StaticAnswer, target: SiteTarget = SITE, static_url: str = "/static/") -> set[str]:  # fmt: skip
    return {f.code for f in diagnose_answers("site", target, static_url, answers)}


def test_links_below_static_url_are_found_once_and_no_others() -> None:
    page = b"""
      <link rel=stylesheet href="/static/a.css"><script src="static/b.js?v=1"></script>
      <img src='/media/c.png'><img src="/static/d%20e.png#x"><img src="/static/d%20e.png">
      <script src="https://cdn.example/static/f.js"></script><a href="/static/g.css">g</a>
      <img src="http://["><img src=""><link href="/static/">
    """
    assert static_links(page, "https://library.example/", "/static/") == [
        "https://library.example/static/a.css",
        "https://library.example/static/b.js?v=1",
        "https://library.example/static/d%20e.png",
    ]
    assert static_links(page, "https://library.example/", "https://cdn.example/static/") == [
        "https://cdn.example/static/f.js"
    ]


@given(st.binary(max_size=300))
def test_no_page_is_too_strange(page: bytes) -> None:
    links = static_links(page + b"<img src=/static/x.png>", "http://a/", "/static/")
    assert all(link.startswith("http://a/static/") for link in links)


def test_every_kind_of_file_has_its_turn() -> None:
    urls = [f"/{n}.css" for n in range(10)] + ["/a.js", "/b.woff2"]
    assert one_of_each_kind(urls, 4) == ["/0.css", "/a.js", "/b.woff2", "/1.css"]
    assert one_of_each_kind([], 4) == []


def test_a_page_is_read_through_its_gzip_even_if_it_is_cut_off() -> None:
    packed = gzip.compress(b"<p>" * 10_000)
    assert readable(packed, "gzip").startswith(b"<p><p>")
    assert readable(packed[:-20], "gzip").startswith(b"<p><p>")
    assert readable(b"plain", "gzip") == b"plain"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "public, max-age=60"}, 60),
        ({"cache-control": 'max-age="60"'}, 60),
        ({"cache-control": "max-age=-1"}, None),
        ({"cache-control": ""}, None),
        (
            {
                "expires": "Thu, 26 Nov 2026 11:00:00 GMT",
                "date": "Thu, 26 Nov 2026 10:00:00 GMT",
            },
            3600,
        ),
        ({"expires": "0", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}, 0),
    ],
)
def test_how_long_a_copy_is_good(headers: dict[str, str], seconds: int | None) -> None:
    assert read_answer(Answer("http://a/x.css", 200, headers)).max_age_seconds == seconds


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("app.3f2a9c1b00aa.css", True),
        ("output.0123456789ab.js", True),
        ("app-3f2a9c1b.js", True),
        ("jquery-3.7.1.min.js", False),
        ("my-decade.js", False),
        ("app.css", False),
        ("app.css?v=12", True),
    ],
)
def test_names_that_change_with_their_content_are_known(name: str, hashed: bool) -> None:
    assert read_answer(Answer(f"http://a/static/{name}", 200)).names_content is hashed


def test_what_is_as_the_guide_asks_is_no_finding() -> None:
    assert found(answered()) == set()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-encoding": ""}, "static-uncompressed"),
        ({"vary": "Cookie"}, "static-without-vary"),
        ({"cache-control": ""}, "static-not-cached"),
        ({"cache-control": "no-store"}, "static-not-cached"),
        ({"cache-control": "max-age=3600, immutable"}, "static-cached-briefly"),
        ({"cache-control": "public, max-age=31536000"}, "static-not-immutable"),
    ],
)
def test_each_fault_has_its_finding(headers: dict[str, str], code: str) -> None:
    assert found(answered(**headers)) == {code}


def test_what_never_changes_its_name_must_not_be_immutable() -> None:
    url = "https://library.example/static/app.css"
    assert found(answered(url)) == {"static-immutable-without-hash"}
    assert found(answered(url, **{"cache-control": "max-age=600"})) == set()


def test_small_files_and_pictures_need_no_compression() -> None:
    plain = {"content-encoding": "", "cache-control": YEAR}
    small = read_answer(Answer("https://a/s.3f2a9c1b00aa.css", 200, plain, b"", 500))
    picture = read_answer(Answer("https://a/s.3f2a9c1b00aa.png", 200, plain, b"", 90_000))
    assert found(small, picture) == set()


def test_a_cdn_is_judged_as_a_browser_would() -> None:
    cdn = "https://cdn.example/static/"
    font = answered(f"{cdn}f.3f2a9c1b00aa.woff2")
    assert found(font, static_url=cdn) == {"static-font-without-cors"}
    allowed = answered(f"{cdn}f.3f2a9c1b00aa.woff2", **{"access-control-allow-origin": "*"})
    assert found(allowed, static_url=cdn) == set()
    assert found(static_url="http://cdn.example/static/") == {"static-mixed-content"}
    gone = read_answer(Answer(f"{cdn}a.css", fault="no answer in time"))
    (finding,) = diagnose_answers("site", SITE, cdn, [gone])
    assert (finding.code, finding.severity) == ("static-unreachable", "critical")
    assert "from the CDN" in finding.sentence
    assert "no answer in time" in finding.sentence


@pytest.mark.parametrize(
    ("given_site", "said"),
    [
        ({"url": "library.example"}, "must be a URL"),
        ({"url": "file:///etc/passwd"}, "must be a URL"),
        ({"url": "https://a", "static_url": "static/"}, "must be a URL"),
        ({"url": "https://a", "static_url": "/static"}, "must end in a slash"),
        ({"url": "https://a", "static_root": "static"}, "must be absolute"),
        ({"url": "https://a", "static_rot": "/s"}, 'Did you mean "static_root"'),
    ],
)
def test_a_wrong_site_is_named(given_site: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_configuration({"sites": {"main": given_site}})


@pytest.mark.parametrize(("name", "severity"), [("a.png", "warning"), ("a.js", "critical")])
def test_a_page_stands_without_a_picture_and_falls_without_a_script(
    name: str, severity: str
) -> None:
    gone = read_answer(Answer(f"https://library.example/static/{name}", 404))
    (finding,) = diagnose_answers("site", SITE, "/static/", [answered(), gone])
    assert finding.severity == severity
