"""What the guide prints that cannot work today, each tried as printed, and its correction, tried as well.

docs/guide-coverage.md refers to these tests by name.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from django.core.cache import caches
from django.core.exceptions import FieldDoesNotExist
from django.db import connection, transaction
from django.test import override_settings
from PIL import Image

from maintenance.web.images.header import Format
from maintenance.web.images.recode import Rules, recode
from service.embedded.binaries import locate_postgres
from tests.images import encoded, opened, picture
from tests.postgres_clients import ask
from tests.testapp.models import Author, Book

BASH = shutil.which("bash")
#: Whatever the gain: what is written is what a test looks at.
EAGER = Rules(4000, 4000, quality=85, minimum_saving_ratio=0, maximum_pixels=50_000_000)


# --- Django's cache ---------------------------------------------------------------------------

CORRECTED_OPTIONS = {
    "pool_class": "redis.BlockingConnectionPool",
    "max_connections": 50,
    "timeout": 20,
}


def cache_with(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The guide's CACHES at another address."""
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"default": {"BACKEND": backend, "LOCATION": url, "OPTIONS": options}}


# --- Python of the guide ----------------------------------------------------------------------


def printed_optimize_image(image_file: Any, max_size: Any = (800, 800), quality: int = 85) -> bytes:
    """The guide's ``optimize_image``, but for its return type."""
    img = Image.open(image_file)
    if img.mode == "RGBA":
        img = img.convert("RGB")
    img.thumbnail(max_size, Image.Resampling.LANCZOS)
    output = BytesIO()
    img.save(output, format="JPEG", quality=quality, optimize=True)
    return output.getvalue()


def stored_image(mode: str, colour: Any, **options: Any) -> bytes:
    """A PNG of one colour."""
    output = BytesIO()
    Image.new(mode, (64, 64), colour).save(output, "PNG", **options)
    return output.getvalue()


def test_an_image_with_a_palette_or_transparency_keeps_its_look() -> None:
    with pytest.raises(OSError, match="cannot write mode P as JPEG"):
        printed_optimize_image(BytesIO(stored_image("P", 1)))
    transparent = stored_image("RGBA", (0, 0, 0, 0))
    black = Image.open(BytesIO(printed_optimize_image(BytesIO(transparent))))
    assert black.getpixel((0, 0)) == (0, 0, 0)  # what nobody saw is a black picture now

    for mode in ("P", "RGBA"):
        original = encoded(picture(mode), Format.PNG, compress_level=0)
        made = opened(recode(original, Format.PNG, EAGER).data)
        assert made.convert("RGBA").tobytes() == opened(original).convert("RGBA").tobytes()


@pytest.mark.django_db
def test_a_queryset_is_cached_with_its_rows(redis_url: str) -> None:
    author = Author.objects.create(name="Le Guin")
    Book.objects.create(title="The Dispossessed", author=author)
    queries: list[str] = []
    with (
        override_settings(CACHES=cache_with(redis_url, CORRECTED_OPTIONS)),
        connection.execute_wrapper(
            lambda execute, sql, *rest: (queries.append(sql), execute(sql, *rest))[1]
        ),
    ):
        books = Book.objects.order_by("title")[:100]
        caches["default"].set("popular_books", books, 60)
        read = caches["default"].get("popular_books")
        assert [book.title for book in (*books, *read)] == ["The Dispossessed"] * 2
    assert len(queries) == 1


@pytest.mark.django_db(transaction=True)
def test_a_lock_is_had_in_a_transaction_alone() -> None:
    author = Author.objects.create(name="Le Guin")

    with pytest.raises(transaction.TransactionManagementError):
        Author.objects.select_for_update().get(id=author.id)


@pytest.mark.django_db
def test_only_and_defer_fetch_what_they_say_and_refuse_fields_of_others() -> None:
    assert Book.objects.only("title").query.deferred_loading == ({"title"}, False)
    with pytest.raises(FieldDoesNotExist):
        list(Book.objects.defer("title", "bio"))


# --- SQL of the guide -------------------------------------------------------------------------

#: Names and columns as a BookWyrm site has them: a User is deleted by is_deleted, an Edition has its
#: title and its id in the table of its parent.
BOOKWYRM = """
CREATE TABLE bookwyrm_user (id int PRIMARY KEY, username text, is_active bool, is_deleted bool);
CREATE TABLE bookwyrm_book (id int PRIMARY KEY, title text);
CREATE TABLE bookwyrm_edition (book_ptr_id int PRIMARY KEY REFERENCES bookwyrm_book);
CREATE TABLE bookwyrm_status (
    id int PRIMARY KEY, user_id int REFERENCES bookwyrm_user, deleted bool,
    published_date timestamptz
);
CREATE TABLE bookwyrm_review (status_ptr_id int PRIMARY KEY, book_id int);
"""
AS_PRINTED = {
    "idx_users_active": "CREATE INDEX idx_users_active ON bookwyrm_user(username)"
    " WHERE is_active AND NOT deleted",
    "idx_book_title_search": "CREATE INDEX idx_book_title_search ON bookwyrm_edition"
    " USING gin(to_tsvector('english', title))",
    "get_popular_books": "SELECT b.id, b.title, COUNT(r.id) as review_count FROM bookwyrm_edition b"
    " LEFT JOIN bookwyrm_review r ON r.book_id = b.id GROUP BY b.id ORDER BY review_count DESC LIMIT 100",
}
CORRECTED = {
    "idx_users_active": "CREATE INDEX CONCURRENTLY idx_users_active ON bookwyrm_user(username)"
    " WHERE is_active AND NOT is_deleted",
    "idx_book_title_search": "CREATE INDEX CONCURRENTLY idx_book_title_search ON bookwyrm_book"
    " USING gin(to_tsvector('english', title))",
    "get_popular_books": "SELECT b.id, b.title, count(r.status_ptr_id) AS review_count FROM"
    " bookwyrm_book b JOIN bookwyrm_edition e ON e.book_ptr_id = b.id LEFT JOIN bookwyrm_review r"
    " ON r.book_id = b.id GROUP BY b.id ORDER BY review_count DESC LIMIT 100",
}
FITS = (
    "CREATE INDEX idx_status_user ON bookwyrm_status(user_id) WHERE NOT deleted",
    "CREATE INDEX idx_status_user_published ON bookwyrm_status(user_id, published_date DESC)",
    "REINDEX INDEX CONCURRENTLY idx_status_user",
    "ANALYZE bookwyrm_status",
    "VACUUM FULL ANALYZE bookwyrm_status",
    "VACUUM ANALYZE bookwyrm_status",
    "VACUUM (FULL, ANALYZE) bookwyrm_status",
    "VACUUM ANALYZE",
    "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
    """SELECT LEFT(query, 100) as query_preview, calls,
    ROUND(total_exec_time::numeric, 2) as total_time_ms,
    ROUND(mean_exec_time::numeric, 2) as mean_time_ms,
    ROUND(max_exec_time::numeric, 2) as max_time_ms
FROM pg_stat_statements WHERE query NOT LIKE '%%pg_stat_statements%%'
ORDER BY mean_exec_time DESC LIMIT 20""",
)


@pytest.fixture
def bookwyrm(make_database: Callable[[], str]) -> Iterator[str]:
    """An empty database with the tables that the guide names."""
    url = make_database()
    with closing(psycopg2.connect(url)) as conn:
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute(BOOKWYRM)
    return url


@pytest.mark.parametrize("name", AS_PRINTED)
def test_sql_of_the_guide_has_the_columns_of_the_schema(bookwyrm: str, name: str) -> None:
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        ask(bookwyrm, AS_PRINTED[name])

    ask(bookwyrm, CORRECTED[name])


def test_the_other_sql_of_the_guide_runs_as_printed(bookwyrm: str) -> None:
    for statement in FITS:
        ask(bookwyrm, statement.replace("%%", "%"))


# --- shell of the guide -----------------------------------------------------------------------


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_a_vacuum_typed_into_a_shell_is_no_sql() -> None:
    assert BASH is not None
    line = "VACUUM (FULL, ANALYZE) bookwyrm_tablename;"
    printed = subprocess.run([BASH, "-nc", line], capture_output=True, text=True, check=False)

    assert printed.returncode == 2
    assert "syntax error" in printed.stderr


def read_by_postgres(path: Path) -> subprocess.CompletedProcess[str]:
    """Let the server read a configuration and print one setting of it."""
    program = locate_postgres().bindir / "postgres"
    arguments = [
        "-C",
        "shared_preload_libraries",
        "-c",
        f"config_file={path}",
        "-D",
        str(path.parent),
    ]
    return subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def test_a_comment_of_sql_is_none_in_postgresql_conf(tmp_path: Path) -> None:
    lines = "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = all\n"
    printed, corrected = tmp_path / "printed.conf", tmp_path / "corrected.conf"
    printed.write_text(f"-- Add to postgresql.conf\n{lines}pg_stat_statements.max = 10000\n")
    corrected.write_text(f"# Add to postgresql.conf\n{lines}pg_stat_statements.max = 10000\n")

    refused, taken = read_by_postgres(printed), read_by_postgres(corrected)

    assert refused.returncode != 0
    assert "syntax error" in refused.stderr
    assert taken.stdout.strip() == "pg_stat_statements", taken.stderr


#: The guide's script at another folder.
SCRIPT = """# Monthly performance audit script
#!/bin/bash

DATE=$(date +%Y%m%d)
REPORT_DIR="{folder}"
mkdir -p $REPORT_DIR

# Database performance analysis
python manage.py analyze_db_performance > "$REPORT_DIR/db_analysis_$DATE.txt"

# Health check
python manage.py health_check > "$REPORT_DIR/health_check_$DATE.txt"

# Data integrity check
python manage.py check_data_integrity > "$REPORT_DIR/integrity_check_$DATE.txt"

# Query profiling
python manage.py profile_queries --min-duration 100 > "$REPORT_DIR/slow_queries_$DATE.txt"
"""


def executable(path: Path, text: str) -> Path:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_a_script_is_started_without_a_shell_by_its_first_line_alone(tmp_path: Path) -> None:
    executable(tmp_path / "python", "#!/bin/sh\necho $*\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    printed, folder = SCRIPT.format(folder=tmp_path / "reports"), tmp_path / "reports"
    script = executable(tmp_path / "audit", printed)

    subprocess.run(["/bin/sh", "-c", str(script)], env=environment, check=True)  # as cron does
    assert {file.read_text() for file in folder.iterdir()} == {
        "manage.py analyze_db_performance\n",
        "manage.py health_check\n",
        "manage.py check_data_integrity\n",
        "manage.py profile_queries --min-duration 100\n",
    }
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="Exec format error"):  # as systemd does
        subprocess.run([str(script)], env=environment, check=True)
    comment, interpreter, rest = printed.split("\n", 2)
    executable(script, f"{interpreter}\n{comment}\n{rest}")
    subprocess.run([str(script)], env=environment, check=True)
    assert len(list(folder.iterdir())) == 4
