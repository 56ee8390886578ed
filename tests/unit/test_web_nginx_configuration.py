"""Nginx as it is set up: the guide's file, planted faults, and files that nobody can read."""

from pathlib import Path

import pytest

from maintenance.core.findings import Severity
from maintenance.core.reports import Report
from maintenance.web.server_configuration.nginx_file import NginxFacts, nginx_conf
from maintenance.web.server_configuration.nginx_places import seconds_of
from maintenance.web.server_configuration.nginx_review import GUIDE_DIRECTIVES, review_nginx

#: "Nginx Configuration" of the guide, as it is printed.
GUIDE = """
proxy_cache_path /var/cache/nginx levels=1:2 keys_zone=bookwyrm_cache:10m max_size=1g inactive=60m;
server {
    listen 80;
    server_name example.com;
    gzip on;
    gzip_vary on;
    gzip_proxied any;
    gzip_comp_level 6;
    gzip_types text/plain text/css text/xml text/javascript application/json application/javascript application/xml+rss;
    location /static/ {
        alias /path/to/bookwyrm/static/;
        expires 1y;
        add_header Cache-Control "public, immutable";
    }
    location /media/ {
        alias /path/to/bookwyrm/images/;
        expires 30d;
        add_header Cache-Control "public";
    }
    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_cache bookwyrm_cache;
        proxy_cache_valid 200 10m;
        proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
        proxy_cache_lock on;
        add_header X-Cache-Status $upstream_cache_status;
    }
}
"""
#: "Load Balancing" of the guide.
BALANCED = """
upstream bookwyrm_backend {
    least_conn;
    server app1.example.com:8000 weight=1;
    server app2.example.com:8000 weight=1;
    server app3.example.com:8000 weight=1;
    keepalive 32;
}
server {
    location / { proxy_pass http://bookwyrm_backend; proxy_set_header Host $host; }
}
"""
GTHREAD = {"worker_class": "gthread", "threads": 4, "keepalive": 5}


def review(folder: Path, text: str, **gunicorn) -> Report:
    path = folder / "nginx.conf"
    path.write_text(text)
    return review_nginx(str(path), cpu_count=4, gunicorn=gunicorn, session_cookie="sessionid")


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_the_guides_file_keeps_pages_of_people_who_are_logged_in(tmp_path):
    report = review(tmp_path, GUIDE)
    found = {finding.code: finding for finding in report.findings}
    assert found.keys() == {
        "nginx-cache-for-logged-in",
        "nginx-cache-under-load",
        "nginx-no-keepalive",
        "nginx-scheme-not-passed",
        "nginx-upload-limit",
    }
    assert found["nginx-cache-for-logged-in"].subject == "example.com /"
    assert "proxy_cache_bypass $cookie_sessionid" in found["nginx-cache-for-logged-in"].advice
    assert found["nginx-cache-under-load"].evidence["missing"] == ["proxy_cache_background_update"]


def test_the_guides_balancing_keeps_no_connection(tmp_path):
    report = review(tmp_path, BALANCED, **GTHREAD)
    found = {finding.code: finding for finding in report.findings}
    assert found["nginx-keepalive-unused"].evidence["missing"] == [
        "proxy_http_version 1.1",
        'proxy_set_header Connection ""',
    ]
    assert found["nginx-keepalive-outlives-gunicorn"].evidence["gunicorn_seconds"] == 5
    assert found["nginx-upstream-without-zone"].evidence["servers"] == 3
    longer = {**GTHREAD, "keepalive": 75}
    assert "nginx-keepalive-outlives-gunicorn" not in codes(review(tmp_path, BALANCED, **longer))


@pytest.mark.parametrize("text", [GUIDE, BALANCED])
def test_every_directive_of_the_guide_is_known(tmp_path, text):
    rows = review(tmp_path, text).tables[0].rows
    assert [row[0] for row in rows] == list(GUIDE_DIRECTIVES)
    deployed = {row[0]: row[2] for row in rows}
    verdicts = {row[0]: row[3] for row in rows}
    if text is GUIDE:
        assert deployed["gzip_comp_level"] == "6"
        assert verdicts["gzip"] == "fits"
        assert verdicts["proxy_cache"] == "see nginx-cache-for-logged-in"
        assert verdicts["least_conn"] == "not set"
    else:
        assert verdicts["least_conn"] == "set"
        assert verdicts["keepalive"] == "see nginx-keepalive-unused"


@pytest.mark.parametrize(
    ("location", "code", "severity"),
    [
        ("location /s { alias /srv/s/; expires 1y; }", "nginx-alias-escapes", Severity.CRITICAL),
        ("location /s/ { alias /srv/s; expires 1y; }", "nginx-alias-misses", Severity.WARNING),
        ("location /s/ { alias /srv/s/; }", "nginx-files-not-cached", Severity.WARNING),
        ("location /s/ { alias /srv/s/; expires 1h; }", "nginx-files-not-cached", Severity.INFO),
        (
            "location / { proxy_pass http://b; proxy_cache z; proxy_ignore_headers Set-Cookie Vary; }",
            "nginx-cache-mixes-visitors",
            Severity.CRITICAL,
        ),
        ("location / { proxy_pass http://b; }", "nginx-host-not-passed", Severity.WARNING),
        (
            "location / { proxy_pass http://b; proxy_next_upstream error non_idempotent; }",
            "nginx-posts-twice",
            Severity.WARNING,
        ),
        (
            "location / { proxy_pass http://b; add_header X-A 1; }",
            "nginx-headers-dropped",
            Severity.WARNING,
        ),
    ],
)
def test_a_planted_fault_is_named_with_its_place(tmp_path, location, code, severity):
    server = f"server {{ server_name books.example; add_header X-Frame-Options DENY; {location} }}"
    report = review(tmp_path, f"http {{ gzip on; {server} }} events {{}}")
    (finding,) = [finding for finding in report.findings if finding.code == code]
    assert finding.severity is severity
    assert finding.subject.startswith("books.example /")


def test_settings_of_an_outer_level_hold_inside(tmp_path):
    text = (
        "worker_processes 1; events {} http { log_format t '$request $request_time';"
        " access_log /x t; client_max_body_size 10m; expires 1y; gzip on; gzip_vary on;"
        " gzip_types *; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;"
        " upstream b { zone b 64k; server 127.0.0.1:1; keepalive 8; } proxy_http_version 1.1;"
        " server { listen 80; location / { proxy_pass http://b; }"
        " location /s/ { alias /srv/s/; } } }"
    )
    assert codes(review(tmp_path, text)) == {"nginx-worker-processes", "nginx-keepalive-unused"}
    # Headers of an inner level hide all of the outer one.
    inner = text.replace(
        "proxy_pass http://b;", 'proxy_pass http://b; proxy_set_header Connection "";'
    )
    assert codes(review(tmp_path, inner)) == {
        "nginx-worker-processes",
        "nginx-host-not-passed",
        "nginx-scheme-not-passed",
    }


@pytest.mark.parametrize(
    "location",
    [
        "location /events { proxy_pass http://b; gzip off; }",
        'location /s/ { alias /srv/s/; add_header Cache-Control "no-store"; }',
    ],
)
def test_what_somebody_has_decided_is_left_alone(tmp_path, location):
    text = f"http {{ gzip on; gzip_vary on; gzip_types *; server {{ {location} }} }}"
    assert codes(review(tmp_path, text)).isdisjoint({"nginx-gzip-off", "nginx-files-not-cached"})


def test_included_files_are_read_and_missing_ones_are_named(tmp_path):
    (tmp_path / "site.conf").write_text(BALANCED)
    text = (
        "events {} http { include site.conf; include /nowhere/gone.conf; include /nowhere/*.conf; }"
    )
    report = review(tmp_path, text)
    assert "nginx-keepalive-unused" in codes(report)
    (unread,) = [finding for finding in report.findings if finding.code == "nginx-unread"]
    assert "/nowhere/gone.conf" in unread.sentence
    assert not unread.measured


@pytest.mark.parametrize(
    "text", ["server {", "}", 'server { return 200 "', "http { include nginx.conf; }", "", "ü\x00;"]
)
def test_a_broken_file_is_never_fatal(tmp_path, text):
    review(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("1h 30m", 5400), ("1y", 31_536_000), ("500ms", 0.5), ("5", 5), ("off", None)],
)
def test_times_of_nginx_are_read(text, seconds):
    assert seconds_of(text) == seconds


def test_our_own_file_leaves_nothing_to_say(tmp_path):
    facts = NginxFacts(
        name="Büchers 'site'",
        server_name="books.example",
        static_root="/srv/site/static",
        media_root="/srv/site/media files/",
        backends=("app1:8000", "app2:8000"),
    )
    report = review(tmp_path, nginx_conf(facts, "Test.").text, keepalive=75, worker_class="gthread")
    assert codes(report) == set()


def test_every_line_of_our_own_file_has_its_reason():
    for line in nginx_conf(NginxFacts(static_root="/s", media_root="/m"), "Test.").lines:
        assert line.reason or line.text == "}"


def test_nothing_is_kept_before_sync_workers():
    text = nginx_conf(NginxFacts(keeps_connections=False), "Test.").text
    assert "keepalive 32" not in text
