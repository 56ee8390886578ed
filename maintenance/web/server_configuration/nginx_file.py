"""A site's file for Nginx, for sites-available or conf.d: the guide's, made to work. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maintenance.core.configuration_file import ConfigurationFile, Line, stays, withheld

TYPES = (
    "text/plain text/css text/xml text/javascript application/json application/javascript"
    " application/xml+rss image/svg+xml"
)
LOG_FORMAT = (
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent"
    ' "$http_referer" "$http_user_agent" $request_time'
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NginxFacts:
    """What the file is for. ``backends`` are addresses of Gunicorn; a folder that is empty is not
    known. ``keeps_connections`` is ``False`` before sync workers, ``None`` where nobody knows."""

    name: str = "site"
    server_name: str = ""
    static_root: str = ""
    media_root: str = ""
    backends: Sequence[str] = ("127.0.0.1:8000",)
    session_cookie: str = "sessionid"
    keeps_connections: bool | None = None

    @property
    def zone(self) -> str:
        """The name of the site as Nginx takes it for a zone."""
        return "".join(c if c.isascii() and c.isalnum() else "_" for c in self.name) or "site"


def nginx_conf(facts: NginxFacts, about: str) -> ConfigurationFile:
    """Return the file. It belongs inside of http, where Debian includes sites-enabled."""
    lines = (
        *_around(facts),
        *_upstream(facts),
        Line(
            "server {", "The site. TLS: add listen 443 ssl with the certificate, as certbot does."
        ),
        *_server(facts),
        Line("}"),
    )
    return ConfigurationFile("nginx.conf", about, lines)


def _around(facts: NginxFacts) -> Iterator[Line]:
    yield Line(
        f"log_format {facts.zone}_timed '{LOG_FORMAT}';",
        "Nginx's own format and the time that each request took: what review_error_rates compares"
        " with the targets.",
    )
    yield Line(
        f"proxy_cache_path /var/cache/nginx/{facts.zone} levels=1:2 keys_zone={facts.zone}_cache:10m"
        " max_size=1g inactive=60m use_temp_path=off;",
        "10 MB hold some 80,000 keys. max_size keeps the disk free. use_temp_path=off writes a page"
        " once, where it stays.",
    )


def _upstream(facts: NginxFacts) -> Iterator[Line]:
    yield Line(f"upstream {facts.zone}_backend {{", "Gunicorn: one line a server.")
    yield Line(
        f"zone {facts.zone}_backend 64k;",
        "What one worker process of Nginx learns of load and failures, all know.",
        1,
    )
    if len(facts.backends) > 1:
        yield Line(
            "least_conn;",
            "A request goes where fewest are at work: pages take very different times.",
            1,
        )
    for backend in facts.backends:
        yield Line(f"server {backend};", "One Gunicorn; one that fails is passed by for 10 s.", 1)
    if facts.keeps_connections is False:
        yield Line("", "keepalive is left out: Gunicorn's sync workers end every connection.", 1)
    else:
        yield Line(
            "keepalive 32;",
            "The guide's number of idle connections a worker process. Gunicorn's keepalive must be"
            " longer than the 60 s for which Nginx keeps them (75, with gthread workers).",
            1,
        )
    yield Line("}")


def _server(facts: NginxFacts) -> Iterator[Line]:
    yield Line("listen 80;", "Plain HTTP.", 1)
    if facts.server_name:
        yield Line(f"server_name {facts.server_name};", "The name visitors use.", 1)
    else:
        yield withheld_at("server_name", "the name of the site (a site target, --server-name)")
    yield Line(
        f"access_log /var/log/nginx/{facts.zone}.access.log {facts.zone}_timed;",
        "In the format above.",
        1,
    )
    yield Line(
        "client_max_body_size 10m;", "Photos are larger than the 1 MB that is the default.", 1
    )
    yield from _compression()
    yield from _files(facts)
    yield from _pages(facts)


def withheld_at(setting: str, needs: str) -> Line:
    """Withhold a line inside of a server block."""
    return Line("", withheld(setting, needs).reason, 1)


def _compression() -> Iterator[Line]:
    yield Line("gzip on;", "Text is three to five times as small.", 1)
    yield Line("gzip_vary on;", "Caches on the way keep both variants apart.", 1)
    yield Line("gzip_proxied any;", "Also for requests that come through a CDN.", 1)
    yield Line("gzip_comp_level 6;", "Above, processors work twice as long for a per cent.", 1)
    yield Line(
        f"gzip_types {TYPES};", "HTML is always compressed; pictures are already, but for SVG.", 1
    )


def _files(facts: NginxFacts) -> Iterator[Line]:
    if facts.static_root:
        yield Line("location /static/ {", "Files of the site itself, past Gunicorn.", 1)
        yield Line(
            f"alias {_folder(facts.static_root)};", "STATIC_ROOT, what collectstatic fills.", 2
        )
        yield Line(
            "expires 30d;",
            "With ManifestStaticFilesStorage, whose names hold a hash: expires 1y and add_header"
            ' Cache-Control "public, immutable". Without hashes visitors would keep the old file'
            " after a deploy; review_static_files tells which names have one.",
            2,
        )
        yield Line("}", depth=1)
    else:
        yield withheld_at("location /static/", "STATIC_ROOT (a site target, --static-root)")
    if facts.media_root:
        yield Line("location /media/ {", "What people uploaded.", 1)
        yield Line(f"alias {_folder(facts.media_root)};", "MEDIA_ROOT.", 2)
        yield Line("expires 30d;", "A new upload gets a new name, so a month is safe.", 2)
        yield Line("}", depth=1)
    else:
        yield withheld_at("location /media/", "MEDIA_ROOT (--media-root)")


def _pages(facts: NginxFacts) -> Iterator[Line]:
    cookie = facts.session_cookie
    yield Line("location / {", "Everything else is Django's.", 1)
    yield Line(f"proxy_pass http://{facts.zone}_backend;", "By the upstream above.", 2)
    if facts.keeps_connections is not False:
        yield Line(
            "proxy_http_version 1.1;",
            "Before Nginx 1.29.7 connections are kept with this and the next line only.",
            2,
        )
        yield Line('proxy_set_header Connection "";', "Otherwise it says close.", 2)
    yield Line("proxy_set_header Host $host;", "Django checks it against ALLOWED_HOSTS.", 2)
    yield Line("proxy_set_header X-Real-IP $remote_addr;", "Who asked, for the site's own logs.", 2)
    yield Line(
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "The same, behind those who passed it on before.",
        2,
    )
    yield Line(
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "With SECURE_PROXY_SSL_HEADER in Django's settings: otherwise HTTPS is unknown to it.",
        2,
    )
    yield Line(f"proxy_cache {facts.zone}_cache;", "Pages for visitors who are not logged in.", 2)
    yield Line("proxy_cache_valid 200 1m;", "A minute takes off a rush; what is new shows soon.", 2)
    yield Line(
        f"proxy_cache_bypass $cookie_{cookie} $http_authorization;",
        "Who is logged in gets fresh pages: else what they have just written would be missing"
        " from them.",
        2,
    )
    yield Line(
        f"proxy_no_cache $cookie_{cookie} $http_authorization;",
        "Nor is a page kept that was made for somebody.",
        2,
    )
    yield Line(
        "proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;",
        "An old page is better than none.",
        2,
    )
    yield Line("proxy_cache_background_update on;", "Nobody waits for a page to be renewed.", 2)
    yield Line("proxy_cache_lock on;", "Many who ask at once cost one answer.", 2)
    yield Line("add_header X-Cache-Status $upstream_cache_status;", "HIT or MISS, to look at.", 2)
    yield Line("", stays("proxy_read_timeout", "60s", "nobody waits longer for a page").reason, 2)
    yield Line("}", depth=1)


def _folder(path: str) -> str:
    """Return a folder as alias takes it: with its slash, quoted where it must be."""
    folder = path.rstrip("/") + "/"
    plain = all(c.isalnum() or c in "/._-" for c in folder)
    return folder if plain else '"' + folder.replace("\\", "\\\\").replace('"', '\\"') + '"'
