"""The app in a project whose database routers lead the ledger to a database of its own.

The project's ``default`` is SQLite, which has none of what the ledger's statements need: whatever goes to
``default`` in place of where the routers lead fails here.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.code_blocks import blocks_of
from tests.embedding_project import Project, lines_of_the_readme
from tests.polling import eventually
from tests.postgres_clients import ask

pytestmark = pytest.mark.timeout(600)

SETTINGS = """
INSTALLED_APPS += ["library"]
DATABASES["crew"] = DATABASES["default"]
DATABASES["default"] = {
    "ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "site.sqlite3", "ATOMIC_REQUESTS": True,
}
DATABASES["library"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "library.sqlite3"}
DATABASE_ROUTERS = ["library.routers.LibraryRouter", "yoursite.routers.CrewRouter"]
MAINTENANCE = {"databases": {"crew": {"alias": "crew"}}}
ROOT_URLCONF = "library.urls"
ALLOWED_HOSTS = ["testserver"]
"""
#: What knows its own application alone, and says nothing of any other.
LIBRARY_ROUTER = """
class LibraryRouter:
    def db_for_read(self, model, **hints):
        return "library" if model._meta.app_label == "library" else None
    db_for_write = db_for_read
    def allow_migrate(self, db, app_label, **hints):
        if app_label == "library" or db == "library":
            return db == "library" and app_label == "library"
"""
LIBRARY = {
    "library/__init__.py": "",
    "library/routers.py": LIBRARY_ROUTER,
    "library/migrations/__init__.py": "",
    "library/models.py": """
from django.db import models
class Book(models.Model):
    title = models.TextField()
""",
    "library/tasks.py": """
from celery import shared_task
from library.models import Book
@shared_task(name="library.add_book")
def add_book(title):
    Book.objects.create(title=title)
""",
    "library/urls.py": """
from django.contrib import admin
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), path("crew/", include("maintenance.urls"))]
""",
}
WATCHED = """
from maintenance.core.runs.watched_tasks import watch_tasks
watch_tasks(app)
"""
#: Each is due once, a second from now at the latest.
DUE = """
import json
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
given = {"interval": every, "one_off": True}
PeriodicTask.objects.create(
    name="a book", task="library.add_book", args=json.dumps(["Emma"]), queue="low", **given
)
PeriodicTask.objects.create(
    name="the disk", task="maintenance.check_disk_space", queue="high",
    kwargs=json.dumps({"target": "local", "options": {}}), **given,
)
"""
PERSON = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser("ada", "ada@example.com", "analytical engine")
"""
PAGES = """
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from maintenance.models import Run
client = Client()
client.force_login(get_user_model().objects.get())
pages = ["/admin/maintenance/", "/crew/health/", "/admin/maintenance/run/run-now/"]
for model in admin.site._registry:
    if model._meta.app_label in ("maintenance", "django_celery_beat"):
        pages.append(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
pages += [f"/admin/maintenance/run/{run.id}/change/" for run in Run.objects.all()[:2]]
for page in pages:
    print(client.get(page).status_code, page)
answer = client.post(
    "/admin/maintenance/run/run-now/?task=review_activity", {"target": "crew", "confirmed": "yes"}
)
run = Run.objects.get(task="maintenance.review_activity")
said = "broker does not answer" in client.get(answer.headers["Location"]).content.decode()
print(answer.status_code, run.actor, said, LogEntry.objects.count())
"""
COMMITS = """
from django.db import transaction
from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, Trigger
def start():
    return start_run(task_named("check_disk_space"), "local", {}, Origin(Trigger.CLI, actor="ada"))
def is_sent(run):
    return Run.objects.get(id=run.id).published_at is not None
with transaction.atomic(using="crew"):
    run = start()
    print(is_sent(run))
print(is_sent(run))
with transaction.atomic():
    print(is_sent(start()))
"""


def tables_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as site:
        return {
            name for (name,) in site.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }


@pytest.fixture
def apart(project: Project, tmp_path: Path) -> Project:
    """A project whose ledger lies apart by the router of the guide, migrated in the odd order."""
    [router] = blocks_of("docs/embedding.md", "python")
    project.write({**LIBRARY, "yoursite/routers.py": router})
    celery = project.folder / "yoursite" / "celery.py"
    celery.write_text(celery.read_text() + WATCHED)
    project.add(lines_of_the_readme(tmp_path / "log") + SETTINGS)
    project.manage("makemigrations", "library", "--verbosity", "0")
    for alias in ("crew", "default", "library"):
        project.manage("migrate", "--database", alias, "--verbosity", "0")
    return project


def states(project: Project, task: str) -> list[str]:
    """Return how the runs of a task are, as the ledger's own database has them."""
    rows = ask(project.database, "SELECT state FROM maintenance_run WHERE task = %s", task)
    return [state for (state,) in rows]


def test_tables_and_roles_lie_where_the_routers_lead_them(apart: Project) -> None:
    rows = ask(apart.database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    in_ledger = {name for (name,) in rows} - {"django_migrations"}
    assert {name.partition("_")[0] for name in in_ledger} == {"maintenance", "django"}
    assert all(name.startswith(("maintenance_", "django_celery_beat_")) for name in in_ledger)
    assert "maintenance_run" in in_ledger

    on_site = tables_of(apart.folder / "site.sqlite3")
    assert not {t for t in on_site if t.startswith(("maintenance_", "django_celery_beat_"))}
    with closing(sqlite3.connect(apart.folder / "site.sqlite3")) as site:
        given = site.execute(
            "SELECT g.name, count(*), sum(p.codename = 'view_notification') FROM auth_group g"
            " JOIN auth_group_permissions gp ON gp.group_id = g.id"
            " JOIN auth_permission p ON p.id = gp.permission_id GROUP BY g.name"
        ).fetchall()
    assert {name for name, *_ in given} == {
        "Maintenance viewer", "Maintenance operator", "Maintenance administrator",
    }  # fmt: skip
    assert all(count > 5 and sees_messages == 1 for _name, count, sees_messages in given)


def test_beat_worker_commands_and_admin_work_on_a_ledger_that_lies_apart(
    apart: Project, tmp_path: Path
) -> None:
    assert "created" in apart.manage("sync_schedules")
    apart.manage("maintenance", "run", "check_disk_space", "--target", "local", "--now",
                 "--fail-on", "critical")  # fmt: skip
    apart.shell(DUE + PERSON)

    with apart.worker(), apart.beat() as beat:
        eventually(
            lambda: (
                states(apart, "library.add_book") == ["succeeded"]
                and states(apart, "maintenance.check_disk_space") == ["succeeded"] * 2
            ),
            60,
            f"both schedules have run:\n{beat.logs().decode()[-2000:]}",
        )
        said = apart.shell(PAGES)
        eventually(
            lambda: states(apart, "maintenance.review_activity") == ["succeeded"],
            60,
            "what was started in the admin has run",
        )
        [(leaders, holds)] = ask(
            apart.database,
            "SELECT count(*), bool_and(expires_at > clock_timestamp()) FROM maintenance_leader",
        )
        health = json.loads(apart.manage("health_check", "--check", "schedule", "--format", "json"))

    assert (leaders, holds) == (1, True)
    assert said[-1] == "302 ada False 1"  # nobody is told that the broker does not answer
    assert len(said) > 15
    assert [line for line in said[:-1] if not line.startswith("200 ")] == []
    assert "away" not in beat.logs().decode()
    assert health
    with closing(sqlite3.connect(apart.folder / "library.sqlite3")) as library:
        assert library.execute("SELECT title FROM library_book").fetchall() == [("Emma",)]
    assert list((tmp_path / "log").rglob("*review_activity*.json"))


def test_a_message_goes_out_with_the_transaction_of_the_ledger_and_no_other(apart: Project) -> None:
    assert apart.shell(COMMITS) == ["False", "True", "True"]


def test_a_ledger_without_tables_names_the_database_to_migrate(
    project: Project, tmp_path: Path
) -> None:
    [router] = blocks_of("docs/embedding.md", "python")
    project.write({**LIBRARY, "yoursite/routers.py": router})
    project.add(lines_of_the_readme(tmp_path / "log") + SETTINGS)

    with pytest.raises(AssertionError, match=r"manage\.py migrate --database crew"):
        project.manage("maintenance", "runs")
