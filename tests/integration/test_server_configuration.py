"""Every file that is recommended is accepted by its real server, and what is deployed is judged."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import celery
import psycopg2
import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from django.core.management import CommandError, call_command
from django.db.utils import ConnectionHandler, DatabaseError
from pytest_django import DjangoDbBlocker

from maintenance.conf import Configuration, parse_configuration
from maintenance.core.errors import (
    ConfigurationError,
    InvalidOptions,
    MissingRights,
    TargetUnavailable,
)
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.python_settings import python_settings
from maintenance.core.reports import Report
from maintenance.deployment.recommend import Adviser, Wish
from maintenance.deployment.review import review_server_configuration
from maintenance.postgres.pgbouncer.console import look_at_console
from maintenance.web.server_configuration.gunicorn_settings import read_gunicorn
from service.embedded.account import server_account
from service.embedded.binaries import locate_postgres, reachable_postgres
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.postgres import EmbeddedPostgres
from service.up.listening import is_listening
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.redis_servers import KINDS, binaries_of
from tests.unit.test_web_nginx_configuration import BALANCED, GUIDE

GB = 1024**3
MACHINE = Wish(
    memory_bytes=4 * GB,
    cpu_count=2,
    storage="ssd",
    dedicated=True,
    role="cache",
    max_connections=100,
    clients=120,
    longest_task_seconds=600,
    static_root="/srv/site/static",
    media_root="/srv/site/media",
    server_name="books.example",
)
EMPTY = parse_configuration({})

#: Debian's lie in /usr/sbin, which is not in everybody's path.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
NGINX = shutil.which("nginx", path=_PATH)
PGBOUNCER = shutil.which("pgbouncer", path=_PATH)
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx (apt-get install nginx)")


def recommended(kind: str, wish: Wish = MACHINE, configuration: Configuration = EMPTY) -> str:
    return Adviser(configuration, wish).file_for(kind).text


def owned(*paths: Path) -> None:
    """Give files to the account that servers run under."""
    account = server_account()
    for path in paths:
        if account is not None:
            shutil.chown(path, account.uid, account.gid)


@contextmanager
def running(
    *command: str | Path, port: int = 0, until: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Run a server until the block ends; it has begun when it listens, or when ``until`` says so."""
    account = server_account()
    process = subprocess.Popen(
        command,
        user=account.uid if account else None,
        group=account.gid if account else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(until or (lambda: is_listening(port)), 20, f"{command[0]} has started")
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def folder(server_root: Path) -> Path:
    """A folder that the servers' account may write to."""
    path = server_root / f"configuration-{secrets.token_hex(4)}"
    path.mkdir()
    owned(path)
    return path


# --- PostgreSQL ----------------------------------------------------------------------------------


def checked_by_postgres(
    server: EmbeddedPostgres, folder: Path, text: str, name: str
) -> subprocess.CompletedProcess[str]:
    file = folder / "postgresql.conf"
    file.write_text(text)
    owned(file)
    account = server_account()
    program = reachable_postgres(locate_postgres(), account, folder / "programs").program(
        "postgres"
    )
    return subprocess.run(
        [program, "-C", name, "-D", server.data_dir, "-c", f"config_file={file}"],
        capture_output=True,
        text=True,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
    )


@pytest.mark.parametrize(
    ("memory_gb", "setting", "value"),
    [(1, "shared_buffers", "256MB"), (4, "work_mem", "16MB"), (8, "maintenance_work_mem", "512MB")],
)
def test_postgres_accepts_the_lines_for_each_size(
    postgres_server: EmbeddedPostgres, folder: Path, memory_gb: int, setting: str, value: str
) -> None:
    wish = Wish(
        memory_bytes=memory_gb * GB,
        cpu_count=2,
        storage="ssd",
        dedicated=True,
        major=locate_postgres().major,
    )
    text = recommended("postgresql", wish)
    done = checked_by_postgres(postgres_server, folder, text, setting)
    assert done.returncode == 0, done.stderr
    (shown,) = ask(postgres_server.url(), f"SELECT pg_size_bytes('{value}')")[0]
    unit = {"shared_buffers": 8192}.get(setting, 1024)
    assert int(done.stdout) * unit == shown
    bad = checked_by_postgres(postgres_server, folder, f"{text}\nwork_mem = 'many'\n", setting)
    assert bad.returncode != 0


def test_lines_for_a_running_server_begin_with_what_it_has(
    make_database: Callable[[], str],
) -> None:
    configuration = parse_configuration({"databases": {"site": {"url": make_database()}}})
    wish = Wish(memory_bytes=8 * GB, cpu_count=4, storage="ssd", dedicated=True)
    text = recommended("postgresql", wish, configuration)
    assert "For the database site, PostgreSQL" in text
    flat = " ".join(text.replace("#", "").split())
    # The test's server has it from there, where no file can change it.
    assert "shared_buffers = 2GB must be set by the server's command line" in flat, text
    assert "\nwork_mem = '32MB'\n" in text
    assert "# pg_stat_statements.track stays all" in text


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ["cache", "streams"])
def test_redis_starts_with_the_lines_and_has_them(folder: Path, kind: str, role: str) -> None:
    program = binaries_of(kind).server
    port, file = free_port(), folder / "redis.conf"
    text = recommended("redis", Wish(memory_bytes=GB, dedicated=True, role=role))
    file.write_text(f"{text}\nport {port}\nbind {LOOPBACK}\ndir {folder}\n")
    owned(file)
    with running(program, file, port=port), redis.Redis(port=port, decode_responses=True) as client:
        eventually(client.ping, 20, "the server answers")
        found = (
            client.config_get("maxmemory*")
            | client.config_get("save")
            | client.config_get("appendonly")
        )
    assert found["maxmemory"] == str(768 * 1024**2)
    expected = (
        ("allkeys-lru", "", "no")
        if role == "cache"
        else ("noeviction", "900 1 300 10 60 10000", "yes")
    )
    assert (found["maxmemory-policy"], found["save"], found["appendonly"]) == expected


def test_the_guides_cache_settings_are_refused_and_the_corrected_ones_work(redis_url: str) -> None:
    pool = {"max_connections": 50, "timeout": 20}
    corrected = {"pool_class": "redis.BlockingConnectionPool", **pool}
    cache = RedisCache(redis_url, {"OPTIONS": corrected})
    cache.set("a", 1)
    assert cache.get("a") == 1
    used = cache._cache._get_connection_pool(write=True)
    assert (type(used), used.max_connections, used.timeout) == (
        redis.BlockingConnectionPool,
        50,
        20,
    )
    printed = {"pool_class": "redis.BlockingConnectionPool", "pool_class_kwargs": pool}
    with pytest.raises(TypeError, match="pool_class_kwargs"):
        RedisCache(redis_url, {"OPTIONS": printed}).get("a")
    parser = {"parser_class": "redis.connection.HiredisParser", **printed}
    with pytest.raises(ImportError, match="HiredisParser"):
        RedisCache(redis_url, {"OPTIONS": parser}).get("a")


# --- Gunicorn and Celery -------------------------------------------------------------------------


def test_gunicorn_accepts_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(recommended("gunicorn"))
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--check-config",
        "-c",
        file,
        "wsgiref.simple_server:demo_app",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file.write_text(recommended("gunicorn") + "\nworkers = -1\n")
    assert subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode != 0


def test_a_gunicorn_that_runs_is_read_by_its_command_line_and_its_file(tmp_path: Path) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(
        "import os\nworkers = int(os.environ['WORKERS'])\nthreads = 2\nmax_requests = 500\n"
    )
    words = ("-w2", "--max-requests", "700")
    with running_gunicorn(file, *words, environment={"WORKERS": "2"}) as name:
        settings = read_gunicorn("", name, 2)
    known = settings.known
    assert (known["workers"], known["threads"], known["max_requests"]) == (2, 2, 700)
    assert settings.connections == 4
    assert settings.unknown == {}
    assert 4 * 1024**2 < (settings.worker_bytes or 0) < GB
    with pytest.raises(ConfigurationError, match="none does"):
        read_gunicorn("", name, 2)
    assert "workers" in read_gunicorn(str(file), "", 2).unknown


@pytest.mark.parametrize(
    "workers", ["", "import os\nworkers = int(os.environ['WEB_CONCURRENCY'])\n"]
)
def test_workers_that_the_environment_names_are_counted(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(f"{workers}threads = 4\n")
    with running_gunicorn(file, environment={"WEB_CONCURRENCY": "3"}) as name:
        eventually(
            lambda: read_gunicorn("", name, 2).known.get("workers") == 3, 20, "all workers run"
        )
        settings = read_gunicorn("", name, 2)
    assert settings.connections == 12
    assert settings.unknown == {}


@contextmanager
def running_gunicorn(file: Path, *words: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a word of the command line of a Gunicorn that runs, with a worker at least."""
    port, name = free_port(), f"test-{secrets.token_hex(4)}"
    # A worker that is told to end while it starts misses that, and is killed after graceful_timeout.
    file.write_text(f"{file.read_text()}control_socket_disable = True\ngraceful_timeout = 2\n")
    command = [sys.executable, "-m", "gunicorn", "-c", file, *words]
    address = ["--bind", f"{LOOPBACK}:{port}", "--name", name, "wsgiref.simple_server:demo_app"]
    process = subprocess.Popen(
        [*command, *address], stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        eventually(lambda: is_listening(port), 20, "gunicorn listens")
        eventually(lambda: read_gunicorn("", name, 2).worker_bytes is not None, 20, "a worker runs")
        yield name
    finally:
        process.terminate()
        process.wait(20)


def test_celery_takes_every_setting_of_the_file() -> None:
    values = dict(python_settings(recommended("celery"), None).values)
    app = celery.Celery("test", set_as_current=False)
    app.config_from_object(values)
    assert {name: app.conf[name] for name in values} == values
    assert set(values) <= set(celery.app.defaults.DEFAULTS)


# --- Nginx ---------------------------------------------------------------------------------------

_AROUND = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    access_log off;
    {inner}
}}
"""


def nginx_file(folder: Path, inner: str) -> Path:
    path = folder / "nginx.conf"
    # Only root may say under which account the worker processes run, and needs to here.
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(_AROUND.format(folder=folder, inner=inner, user=user))
    return path


@needs_nginx
@pytest.mark.parametrize("backends", [(), ("127.0.0.1:8001", "127.0.0.1:8002")])
def test_nginx_accepts_the_file(tmp_path: Path, backends: tuple[str, ...]) -> None:
    wish = Wish(
        static_root="/srv/static",
        media_root="/srv/my media",
        server_name="books.example",
        backends=backends,
    )
    text = (
        recommended("nginx", wish)
        .replace("/var/cache/nginx", f"{tmp_path}/cache")
        .replace("/var/log/nginx", str(tmp_path))
    )
    (tmp_path / "cache").mkdir()
    path = nginx_file(tmp_path, text)
    assert NGINX is not None
    done = subprocess.run(
        [NGINX, "-t", "-c", path, "-p", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path.write_text(path.read_text().replace("gzip on;", "gzip perhaps;"))
    assert (
        subprocess.run([NGINX, "-t", "-c", path], capture_output=True, check=False).returncode != 0
    )


class Application:
    """An HTTP/1.1 server behind Nginx: counts connections and requests, answers with their number."""

    def __init__(self) -> None:
        self.connections = self.requests = 0
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                application.connections += 1
                super().setup()

            def do_GET(self) -> None:
                application.requests += 1
                body = str(application.requests).encode()
                self.send_response(200)
                self.send_header("Vary", "Cookie")  # as Django does where it looked at the session
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def nginx_running(folder: Path, inner: str) -> Iterator[Callable[..., str]]:
    """Run Nginx with these servers on a free port; yield what asks it for a page."""
    assert NGINX is not None
    port = free_port()
    path = nginx_file(folder, inner.replace("listen 80;", f"listen {LOOPBACK}:{port};"))
    process = subprocess.Popen([NGINX, "-c", path, "-p", folder], stderr=subprocess.DEVNULL)

    def get(cookie: str = "") -> str:
        with closing(HTTPConnection(LOOPBACK, port)) as connection:
            connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
            return connection.getresponse().read().decode()

    try:
        eventually(lambda: is_listening(port), 20, "nginx listens")
        yield get
    finally:
        process.terminate()
        process.wait(20)


@needs_nginx
def test_the_guides_cache_hides_what_a_visitor_has_just_written_and_ours_does_not(
    tmp_path: Path,
) -> None:
    guide = GUIDE.replace("/var/cache/nginx", f"{tmp_path}/guide")
    with Application() as site:
        inner = guide.replace("127.0.0.1:8000", site.address)
        with nginx_running(tmp_path, inner) as get:
            before = get("sessionid=alice")
            assert get("sessionid=alice") == before  # and so for ten minutes
        ours = recommended("nginx", Wish(backends=(site.address,), server_name="_"))
        ours = ours.replace("/var/cache/nginx", str(tmp_path)).replace(
            "/var/log/nginx", str(tmp_path)
        )
        with nginx_running(tmp_path, ours) as get:
            assert get("sessionid=alice") != get("sessionid=alice")
            assert get() == get()


@needs_nginx
def test_the_guides_upstream_keeps_no_connection_and_ours_does(tmp_path: Path) -> None:
    addresses = re.compile(r"app\d\.example\.com:8000")
    with Application() as site:
        inner = addresses.sub(site.address, BALANCED).replace("server {", "server { listen 80;", 1)
        with nginx_running(tmp_path, inner) as get:
            for number in range(5):
                get(f"sessionid={number}")
        assert site.connections == site.requests == 5
    with Application() as site:
        ours = recommended("nginx", Wish(backends=(site.address,), server_name="_"))
        ours = ours.replace("/var/cache/nginx", str(tmp_path)).replace(
            "/var/log/nginx", str(tmp_path)
        )
        with nginx_running(tmp_path, ours) as get:
            for number in range(5):
                get(f"sessionid={number}")
        assert site.requests == 5
        # A request may come before the connection of the last one is free again.
        assert site.connections < 5


# --- PgBouncer -----------------------------------------------------------------------------------


@pytest.fixture
def bounced(make_database: Callable[[], str], folder: Path) -> Iterator[tuple[str, str, str]]:
    """A PgBouncer with the recommended file: the server's URL, the pooled one, and the console's."""
    if PGBOUNCER is None:
        pytest.skip("needs PgBouncer (apt-get install pgbouncer)")
    url = make_database()
    parts = urlsplit(url)
    configuration = parse_configuration({"databases": {"site": {"url": url}}})
    wish = Wish(cpu_count=2, clients=120, dedicated=True)
    port = free_port()
    users, file = folder / "userlist.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{parts.username}" "{parts.password}"\n"maintenance" "look"\n')
    text = recommended("pgbouncer", wish, configuration)
    file.write_text(
        text.replace("/etc/pgbouncer/userlist.txt", str(users)).replace("= 6432", f"= {port}")
        + f"\nunix_socket_dir =\nlogfile = {folder}/log\n"
    )
    owned(users, file)
    with running(PGBOUNCER, "-q", file, port=port):
        pooled = url.replace(f":{parts.port}/", f":{port}/").replace(parts.path, "/site")
        yield url, pooled, f"postgres://maintenance:look@{LOOPBACK}:{port}/pgbouncer"


#: "PgBouncer Configuration" of the guide, as it is printed.
GUIDE_INI = """
[databases]
bookwyrm = host=localhost dbname=bookwyrm port=5432

[pgbouncer]
pool_mode = transaction
max_client_conn = 100
default_pool_size = 20
reserve_pool_size = 5
reserve_pool_timeout = 5
"""


@pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer (apt-get install pgbouncer)")
def test_the_guides_pgbouncer_listens_on_no_port_and_lets_nobody_in(folder: Path) -> None:
    port, file = free_port(), folder / "pgbouncer.ini"
    file.write_text(f"{GUIDE_INI}listen_port = {port}\nunix_socket_dir = {folder}\n")
    owned(file)
    socket = folder / f".s.PGSQL.{port}"
    with running(str(PGBOUNCER), "-q", file, until=socket.exists):
        assert not is_listening(port)
        # Nor does it know anybody: there is no auth_file.
        login = {"dbname": "bookwyrm", "user": "bookwyrm", "password": "password"}
        with pytest.raises(psycopg2.OperationalError, match=r"authentication|no such user"):
            psycopg2.connect(host=str(folder), port=port, **login)


def found(report: Report) -> dict[str, Finding]:
    return {finding.code: finding for finding in report.findings}


def review(configuration: Configuration, previous: Report | None = None) -> Report:
    job = Job(
        "main",
        configuration.deployments["main"],
        NoOptions(),
        previous_state=previous.state if previous else {},
    )
    return review_server_configuration(job, configuration)


def test_pgbouncer_starts_with_the_file_and_is_looked_at_by_a_user_who_may_only_look(
    bounced: tuple[str, str, str], tmp_path: Path
) -> None:
    url, pooled, console = bounced
    ask(url, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    ask(url, "SELECT pg_stat_statements_reset()")
    assert ask(pooled, "SELECT 1") == [(1,)]
    ask(pooled, "LISTEN news")
    gunicorn = tmp_path / "gunicorn.conf.py"
    gunicorn.write_text("workers = 100\nthreads = 4\n")
    configuration = parse_configuration(
        {
            "databases": {"site": {"url": url, "pgbouncer": console}},
            "deployments": {"main": {"database": "site", "gunicorn": str(gunicorn)}},
        }
    )
    report = review(configuration)
    codes = found(report)
    assert codes["pgbouncer-session-feature"].evidence["example"] == "LISTEN news"
    # 120 clients were said: twice as many are let in, in whole hundreds.
    assert codes["pgbouncer-too-few-clients"].evidence == {
        "client_connections": 400,
        "max_client_conn": 300,
    }
    rows = {t.title: t.rows for t in report.tables}["The guide's settings of PgBouncer before site"]
    assert [row[0] for row in rows] == [
        "pool_mode",
        "max_client_conn",
        "default_pool_size",
        "reserve_pool_size",
        "reserve_pool_timeout",
    ]
    assert "pgbouncer-pools-too-large" not in codes
    again = review(configuration, report)
    (seen,) = [row[1] for row in again.tables[0].rows if row[0] == "PgBouncer before site"]
    assert "since the last look" in seen
    with closing(psycopg2.connect(console)) as denied:
        denied.autocommit = True
        with denied.cursor() as cursor, pytest.raises(psycopg2.Error, match="admin access needed"):
            cursor.execute("RELOAD")


def test_djangos_server_side_cursors_break_in_transaction_mode(
    bounced: tuple[str, str, str], django_db_blocker: DjangoDbBlocker
) -> None:
    parts = urlsplit(bounced[1])
    site = ConnectionHandler(
        {
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts.path[1:],
                "USER": parts.username,
                "PASSWORD": parts.password,
                "HOST": parts.hostname,
                "PORT": parts.port,
            }
        }
    )["default"]
    with (
        django_db_blocker.unblock(),
        closing(site),
        closing(psycopg2.connect(bounced[1])) as other,
    ):
        # As iterator() of a queryset has it, without and with DISABLE_SERVER_SIDE_CURSORS.
        there, here = site.chunked_cursor(), site.cursor()
        for rows in (here, there):
            rows.execute("SELECT generate_series(1, 500)")
        other.cursor().execute("SELECT 1")  # takes the session that the cursor lies in
        assert len(here.fetchmany(100)) == 100
        with pytest.raises(DatabaseError, match=r"cursor .* does not exist"):
            there.fetchmany(100)


def test_clients_that_wait_are_named(bounced: tuple[str, str, str]) -> None:
    url, pooled, console = bounced
    target = {"url": url, "pgbouncer": console}
    configuration = parse_configuration(
        {"databases": {"site": target}, "deployments": {"main": {"database": "site"}}}
    )
    most = look_at_console(console, 5).databases[0]
    with ExitStack() as held:
        for _ in range(most.pool_size):  # the reserve opens later
            held.enter_context(closing(psycopg2.connect(pooled))).cursor().execute("SELECT 1")
        waiting = threading.Thread(target=ask, args=(pooled, "SELECT 1"))
        waiting.start()
        eventually(
            lambda: look_at_console(console, 5).pools[0].longest_wait_seconds > 1, 20, "it waits"
        )
        named = found(review(configuration))["pgbouncer-clients-wait"]
    waiting.join(20)
    assert named.evidence["clients_waiting"] == 1
    assert named.evidence["servers_busy"] == most.pool_size


def test_through_the_pooler_alone_its_settings_are_still_judged(
    bounced: tuple[str, str, str],
) -> None:
    _, pooled, console = bounced
    configuration = parse_configuration(
        {
            "databases": {"site": {"url": pooled, "pgbouncer": console}},
            "deployments": {"main": {"database": "site"}},
        }
    )
    codes = found(review(configuration))
    assert "direct_url" in codes["configuration-unread"].sentence
    assert not codes["pgbouncer-room"].measured
    assert "pgbouncer-prepared-statements" in codes or look_at_console(console, 5).version >= (
        1,
        21,
    )


def test_who_may_not_look_and_what_is_no_console_are_said(bounced: tuple[str, str, str]) -> None:
    url, pooled, console = bounced
    with pytest.raises(MissingRights, match="stats_users"):
        look_at_console(pooled.rpartition("/")[0] + "/pgbouncer", 5)
    with pytest.raises(ConfigurationError, match="must name the database pgbouncer"):
        look_at_console(url, 5)
    with pytest.raises(TargetUnavailable) as refused:
        look_at_console(console.replace(":look@", ":hunter2@"), 5)
    assert "hunter2" not in str(refused.value)


# --- All of it together --------------------------------------------------------------------------


def test_a_part_that_is_away_hides_no_other(tmp_path: Path, redis_url: str) -> None:
    broken = tmp_path / "gunicorn.conf.py"
    broken.write_text("workers = (")
    configuration = parse_configuration(
        {
            "databases": {"site": {"url": f"postgres://crew:hunter2@{LOOPBACK}:1/gone"}},
            "redis": {"cache": {"url": redis_url, "role": "cache"}},
            "deployments": {
                "main": {
                    "database": "site",
                    "redis": ["cache"],
                    "gunicorn": str(broken),
                    "nginx": "/no/nginx.conf",
                }
            },
        }
    )
    report = review(configuration)
    unread = {f.subject for f in report.findings if f.code == "configuration-unread"}
    assert unread == {"PostgreSQL site", "Gunicorn of main", "Nginx of main"}
    assert "hunter2" not in str(report.to_json())
    assert "redis-memory-unlimited" in found(report)


def test_where_nothing_can_be_looked_at_the_run_fails_with_the_reason() -> None:
    configuration = parse_configuration(
        {
            "databases": {"site": {"url": f"postgres://crew@{LOOPBACK}:1/gone"}},
            "deployments": {"main": {"database": "site"}},
        }
    )
    with pytest.raises(TargetUnavailable, match="cannot be reached"):
        review(configuration)


def test_both_commands_print_the_same_file(tmp_path: Path) -> None:
    words = ("--for", "redis", "--role", "cache", "--memory", "1GB", "--dedicated", "--offline")
    printed = []
    for command in (("maintenance", "recommend"), ("recommend_configuration",)):
        out = StringIO()
        call_command(*command, *words, stdout=out)
        printed.append(out.getvalue())
    assert printed[0] == printed[1]
    assert "maxmemory 768mb\n" in printed[0]
    with pytest.raises(CommandError, match='Did you mean "cache"'):
        call_command("recommend_configuration", "--for", "redis", "--role", "cashe")
    with pytest.raises(InvalidOptions, match="give --role"):
        recommended("redis", Wish(offline=True))
    file = tmp_path / "redis.conf"
    call_command("recommend_configuration", *words, "--output", str(file), stderr=StringIO())
    assert file.read_text() == printed[0]
