"""Static files of real folders behind real servers."""

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from maintenance.conf import SiteTarget
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.reports.plain import plain_report
from maintenance.web.static.fetch import Fetcher
from maintenance.web.static.folder import measure_folder
from maintenance.web.static.review import review_static_files
from service.embedded.ports import LOOPBACK, free_port
from tests.polling import eventually
from tests.web_server import web_server

CSS = b"body { color: #222; margin: 0 }\n" * 200
NGINX = shutil.which("nginx", path="/usr/sbin:" + os.environ.get("PATH", ""))


def review(**site: Any) -> Report:
    job = Job("main", SiteTarget(**site), NoOptions())
    return plain_report(review_static_files(job))


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder as collectstatic leaves it with ManifestStaticFilesStorage, by Django itself."""
    source, root = tmp_path / "source", tmp_path / "static"
    (source / "css").mkdir(parents=True)
    (source / "css/app.css").write_bytes(CSS + b"p { background: url(dot.svg) }")
    (source / "css/dot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>" * 60)
    with override_settings(**_settings(source, root)):
        call_command("collectstatic", interactive=False, verbosity=0)
    return root


def _settings(source: Path, root: Path) -> Mapping[str, Any]:
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    return {
        "STATIC_ROOT": str(root),
        "STATIC_URL": "/static/",
        "STATICFILES_DIRS": [str(source)],
        "STATICFILES_FINDERS": ["django.contrib.staticfiles.finders.FileSystemFinder"],
        "STORAGES": {
            "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
            "staticfiles": {"BACKEND": storage},
        },
    }


@contextmanager
def nginx(root: Path, home: Path, static: str) -> Iterator[str]:
    """Yield the URL of an nginx that serves ``root``; ``static`` is what its location says."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    hashed = next(root.glob("css/app.*.css")).name
    (home / "index.html").write_text(f'<link rel="stylesheet" href="/static/css/{hashed}">')
    for path in [root, *root.parents][:5]:
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    config = home / "nginx.conf"
    config.write_text(
        f"""
        daemon off; pid {home}/pid; error_log {home}/error.log;
        events {{}}
        http {{
            types {{ text/css css; image/svg+xml svg; text/html html; }}
            access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p;
            fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
            server {{
                listen {LOOPBACK}:{port};
                location / {{ root {home}; }}
                location /static/ {{ alias {root}/; {static} }}
            }}
        }}
        """
    )
    process = subprocess.Popen([NGINX, "-c", str(config), "-e", f"{home}/error.log"])
    url = f"http://{LOOPBACK}:{port}/"
    try:
        eventually(lambda: Fetcher(1, 1).get(url).status == 200, 20, "nginx answers")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_nginx_as_the_guide_has_it_is_as_it_should_be(root: Path, tmp_path: Path) -> None:
    guide = """
        gzip on; gzip_vary on; gzip_proxied any; gzip_comp_level 6; gzip_types text/css image/svg+xml;
        expires 1y; add_header Cache-Control "public, immutable";
    """
    with nginx(root, tmp_path, guide) as url:
        report = review(url=url, static_root=str(root))

    assert codes(report) == set(), report.findings
    assert report.facts["requests"] == 3
    assert {(s.metric, s.value) for s in report.samples} == {
        ("static_files_compressed_ratio", 1.0),
        ("static_files_cached_ratio", 1.0),
    }


def test_a_bare_nginx_is_told_what_it_lacks(root: Path, tmp_path: Path) -> None:
    with nginx(root, tmp_path, "") as url:
        report = review(url=url, static_root=str(root))

    assert codes(report) == {"static-uncompressed", "static-not-cached", "static-not-precompressed"}


def test_nginx_that_sends_what_was_compressed_before(root: Path, tmp_path: Path) -> None:
    for name in measure_folder(str(root)).compressible:
        with gzip.open(f"{root / name}.gz", "wb") as packed:
            packed.write((root / name).read_bytes())
    static = 'gzip_static on; gzip_vary on; add_header Cache-Control "max-age=31536000, immutable";'
    with nginx(root, tmp_path, static) as url:
        report = review(url=url, static_root=str(root))
    assert codes(report) == set(), report.findings


def test_variants_that_are_old_or_another_content_or_missing_are_named(root: Path) -> None:
    names = sorted(measure_folder(str(root)).compressible)
    assert len(names) == 4
    for name in names[:3]:
        with gzip.open(f"{root / name}.gz", "wb") as packed:
            packed.write((root / name).read_bytes())
    old, other = names[0], names[1]
    os.utime(f"{root / old}.gz", (0, 0))
    with gzip.open(f"{root / other}.gz", "wb") as packed:
        packed.write(b"body {}")
    (Path(f"{root / names[2]}.gz")).write_bytes(b"no gzip")

    packed_variants, brotli = measure_folder(str(root)).variants

    assert packed_variants.present == 3
    assert set(packed_variants.stale) == {old, other, names[2]}
    assert packed_variants.missing == [names[3]]
    assert (brotli.present, brotli.stale) == (0, [])


def test_the_manifest_of_collectstatic_is_whole_and_its_faults_are_seen(root: Path) -> None:
    whole = measure_folder(str(root)).manifest
    assert whole is not None
    assert (whole.entries, whole.missing, whole.altered) == (2, (), ())

    hashed = next(root.glob("css/app.*.css"))
    hashed.write_bytes(CSS)
    next(root.glob("css/dot.*.svg")).unlink()
    broken = measure_folder(str(root)).manifest
    assert broken is not None
    assert broken.missing == ("css/dot.svg",)
    assert broken.altered == (f"css/{hashed.name}",)

    (root / "staticfiles.json").write_text("{")
    spoilt = measure_folder(str(root)).manifest
    assert spoilt is not None
    assert spoilt.fault


def test_large_files_are_not_read_to_be_compared_with_their_names(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, picture = next(root.glob("css/app.*.css")), next(root.glob("css/dot.*.svg"))
    for path in (style, picture):
        path.write_bytes(path.read_bytes()[::-1])
    assert picture.stat().st_size < style.stat().st_size
    limit = style.stat().st_size + picture.stat().st_size
    for most, altered in ((limit, {style, picture}), (limit - 1, {picture}), (0, set())):
        monkeypatch.setattr("maintenance.web.static.folder.MOST_COMPARED_BYTES", most)
        manifest = measure_folder(str(root)).manifest
        assert manifest is not None
        assert {root / name for name in manifest.altered} == altered
        assert manifest.unread == 2 - len(altered)


def test_the_manifest_of_django_compressor_is_checked(root: Path) -> None:
    cache = root / "CACHE"
    (cache / "css").mkdir(parents=True)
    (cache / "css/output.0123456789ab.css").write_bytes(CSS)
    manifest = cache / "manifest.json"
    manifest.write_text(
        '{"a": "<link href=\\"/static/CACHE/css/output.0123456789ab.css\\">",'
        ' "b": "<script src=\\"/static/CACHE/js/output.ffffffffffff.js\\"></script>"}'
    )
    os.utime(manifest, (time.time() + 60,) * 2)
    fresh = measure_folder(str(root)).compressor
    assert fresh is not None
    assert (fresh.entries, fresh.older_than) == (2, "")
    assert fresh.missing == ("CACHE/js/output.ffffffffffff.js",)
    os.utime(manifest, (0, 0))
    stale = measure_folder(str(root)).compressor
    assert stale is not None
    assert stale.older_than.startswith("css/app")


def test_the_projects_own_settings_are_read(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"

    def page(path: str, _headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {"Cache-Control": "max-age=31536000, immutable"}, b"x" if "." in path else b""

    with web_server(page) as server, override_settings(**_settings(source, root)):
        assert "static-uncollected" not in codes(review(url=server.url, own=True))
        later = time.time() + 60
        os.utime(source / "css/app.css", (later, later))
        (source / "new.js").write_text("1")
        report = review(url=server.url, own=True)
        (uncollected,) = (f for f in report.findings if f.code == "static-uncollected")
        assert set(uncollected.evidence["files"]) == {"css/app.css", "new.js"}
        (root / "staticfiles.json").unlink()
        assert "static-manifest-missing" in codes(review(url=server.url, own=True))


def test_requests_are_bounded_and_nothing_outside_of_static_url_is_asked(tmp_path: Path) -> None:
    page = "".join(f'<img src="/static/{n}.png">' for n in range(100))
    page += '<img src="http://169.254.169.254/latest/"><img src="/media/x.png">'

    def answer(path: str, _headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {"Content-Type": "text/html"}, page.encode() if path == "/" else b"png"

    with web_server(answer) as server:
        report = review(url=server.url, maximum_requests=7)
        assert len(server.asked) == 7
        assert all(path == "/" or path.startswith("/static/") for path in server.asked)
        assert report.facts["requests"] == 7


def test_redirects_in_a_circle_and_broken_answers_are_findings(tmp_path: Path) -> None:
    def answer(path: str, _headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if path == "/":
            links = '<img src="/static/circle.png"><img src="/static/gone.png">'
            return 200, {}, links.encode()
        if "circle" in path:
            return 302, {"Location": path}, b""
        return 404, {}, b"no"

    with web_server(answer) as server:
        report = review(url=server.url)
    (finding,) = report.findings
    assert finding.code == "static-unreachable"
    assert "404" in finding.sentence
    assert "302" in finding.sentence


def test_a_site_that_is_down_is_one_finding() -> None:
    report = review(url=f"http://{LOOPBACK}:{free_port()}/", timeout_seconds=2)
    assert codes(report) == {"site-unreachable"}
    assert "refused" in report.findings[0].sentence


def test_a_cdn_that_is_down_is_said_to_be_one(tmp_path: Path) -> None:
    cdn = f"http://{LOOPBACK}:{free_port()}/static/"

    def page(_path: str, _headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {}, f'<script src="{cdn}a.js"></script>'.encode()

    with web_server(page) as server:
        report = review(url=server.url, static_url=cdn)
    assert codes(report) == {"static-unreachable"}
    assert "from the CDN" in report.findings[0].sentence


def test_a_folder_that_is_elsewhere_is_unavailable_and_no_zero(tmp_path: Path) -> None:
    with web_server(lambda _path, _headers: (200, {}, b"")) as server:
        report = review(url=server.url, static_root=str(tmp_path / "gone"))
    assert codes(report) == {"static-root-unreadable", "static-files-unknown"}
    assert not any(finding.measured for finding in report.findings)
    assert report.samples == ()
