"""The app in a project with a schema for each tenant, whose connections choose it as django-tenants' do.

The backend puts a ``SET search_path`` before each cursor's statements; the routers make shared tables in
``public`` and those of tenants in their schemas; a middleware takes the tenant from the host's name.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.embedding_project import Project, lines_of_the_readme
from tests.polling import eventually
from tests.postgres_clients import ask

pytestmark = pytest.mark.timeout(600)

SETTINGS = """
INSTALLED_APPS += ["library", "tenants"]
SHARED = {"contenttypes", "auth", "admin", "sessions", "maintenance", "django_celery_beat"}
TENANT = {"contenttypes", "auth", "admin", "sessions", "library"}
DATABASES["default"]["ENGINE"] = "tenants.wrapper"
DATABASES["acme"] = {
    **DATABASES["default"], "ENGINE": "django.db.backends.postgresql",
    "OPTIONS": {"options": "-c search_path=acme,public"},
}
DATABASE_ROUTERS = ["tenants.routers.TenantRouter"]
MIDDLEWARE.insert(0, "tenants.middleware.TenantMiddleware")
MAINTENANCE = {"databases": {"default": {"alias": "default"}, "acme": {"alias": "acme"}}}
ALLOWED_HOSTS = [".testserver"]
"""
TENANTS = {
    "tenants/__init__.py": "",
    "tenants/wrapper/__init__.py": "",
    "tenants/wrapper/base.py": """
import psycopg2
from django.db.backends.postgresql import base
class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.set_schema("public")
    def set_schema(self, name, *, alone=False):
        self.schema_name = name
        self.path = [name] if alone or name == "public" else [name, "public"]
    def _cursor(self, name=None):
        cursor = super()._cursor(name)
        with self.connection.cursor() as setting:
            try:
                setting.execute("SET search_path = " + ", ".join(f'"{each}"' for each in self.path))
            except psycopg2.InternalError:
                pass  # of a transaction that has failed: the next statement says so
        return cursor
""",
    "tenants/routers.py": """
from django.conf import settings
from django.db import connections
class TenantRouter:
    def allow_migrate(self, db, app_label, **hints):
        name = getattr(connections[db], "schema_name", "acme")
        return app_label in (settings.SHARED if name == "public" else settings.TENANT)
""",
    "tenants/middleware.py": """
from django.contrib.contenttypes.models import ContentType
from django.db import connection
class TenantMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        host = request.get_host().partition(".")[0]
        connection.set_schema(host if host in ("acme", "globex") else "public")
        ContentType.objects.clear_cache()
        try:
            return self.get_response(request)
        finally:
            connection.set_schema("public")
""",
    "library/__init__.py": "",
    "library/migrations/__init__.py": "",
    "library/models.py": """
from django.db import models
class Book(models.Model):
    title = models.TextField()
""",
}
MAKE_TENANTS = """
from django.core.management import call_command
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from library.models import Book
for name in ("acme", "globex"):
    connection.cursor().execute(f"CREATE SCHEMA {name}")
    connection.set_schema(name, alone=True)
    ContentType.objects.clear_cache()
    call_command("migrate", verbosity=0)
    Book.objects.bulk_create(Book(title=str(number)) for number in range(1000))
    connection.set_schema("public")
"""
PAGES = """
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from maintenance.models import Run
connection.set_schema("acme")
ContentType.objects.clear_cache()
get_user_model().objects.create_superuser("ada", "ada@example.com", "analytical engine")
client = Client(SERVER_NAME="acme.testserver")
client.force_login(get_user_model().objects.get())
for page in ("", "run/", "schedulerow/", "schedulerow/calendar/", "storedfinding/", "run/run-now/"):
    connection.set_schema("public")
    print(client.get(f"/admin/maintenance/{page}").status_code, page)
answer = client.post(
    "/admin/maintenance/run/run-now/?task=vacuum_analyze",
    {"target": "default", "option-tables": "acme.library_book", "option-mode": "all",
     "option-table_time_limit_seconds": "60", "option-time_budget_seconds": "0", "confirmed": "yes"},
)
run = Run.objects.get()
print(answer.status_code, run.actor, run.options["tables"])
"""


@pytest.fixture
def tenants(project: Project, tmp_path: Path) -> Project:
    """A project with the shared schema and those of two tenants, each with the same table."""
    project.write(TENANTS)
    project.add(lines_of_the_readme(tmp_path / "log") + SETTINGS)
    project.manage("makemigrations", "library", "--verbosity", "0")
    project.manage("migrate", "--verbosity", "0")
    project.shell(MAKE_TENANTS)
    return project


def schemas_of(project: Project, pattern: str) -> set[str]:
    rows = ask(
        project.database, "SELECT schemaname FROM pg_tables WHERE tablename LIKE %s", pattern
    )
    return {schema for (schema,) in rows}


def findings_of(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """Run a task in the command's own process; return what it found."""
    said = project.manage(
        "maintenance", "run", *arguments, "--now", "--json", "--fail-on", "critical"
    )
    findings: list[dict[str, Any]] = json.loads(said)["report"]["findings"]
    return findings


def test_one_ledger_in_the_shared_schema_and_roles_where_people_are(tenants: Project) -> None:
    assert schemas_of(tenants, "library\\_%") == {"acme", "globex"}
    assert schemas_of(tenants, "maintenance\\_%") == {"public"}
    assert schemas_of(tenants, "django\\_celery\\_beat\\_%") == {"public"}
    for schema in ("public", "acme", "globex"):
        roles = ask(tenants.database, f"SELECT count(*) FROM {schema}.auth_group")
        rights = ask(tenants.database, f"SELECT count(*) FROM {schema}.auth_group_permissions")
        assert (roles, rights > [(20,)]) == ([(3,)], True)


def test_a_run_asked_for_in_a_tenants_admin_is_done_by_the_projects_own_worker_and_beat(
    tenants: Project,
) -> None:
    tenants.manage("sync_schedules")
    said = tenants.shell(PAGES)
    assert [line for line in said[:-1] if not line.startswith("200 ")] == []
    assert said[-1] == "302 ada ['acme.library_book']"

    def state() -> list[tuple[str]]:
        return ask(tenants.database, "SELECT state FROM public.maintenance_run")

    with tenants.worker(), tenants.beat():
        eventually(lambda: state() == [("succeeded",)], 60, "the run has succeeded")

    [(body,)] = ask(tenants.database, "SELECT body::text FROM public.maintenance_storedreport")
    assert "acme.library_book" in body
    assert "globex" not in body
    vacuumed = ask(
        tenants.database,
        "SELECT schemaname FROM pg_stat_user_tables"
        " WHERE relname = 'library_book' AND last_vacuum IS NOT NULL",
    )
    assert vacuumed == [("acme",)]


def test_one_target_is_all_schemas_and_its_findings_name_them(tenants: Project) -> None:
    for schema in ("acme", "globex"):
        for name in ("twin", "other_twin"):
            ask(tenants.database, f"CREATE INDEX {name} ON {schema}.library_book (title)")

    found = findings_of(
        tenants, "report_redundant_indexes", "--target", "default", "--option", "minimum_bytes=0"
    )
    twins = [f for f in found if f["code"] == "duplicate-index"]
    assert {f["subject"].partition(".")[0] for f in twins} == {"acme", "globex"}
    assert {f["evidence"]["table"] for f in twins} == {"acme.library_book", "globex.library_book"}


def test_an_alias_along_a_tenants_schema_knows_the_models_there(tenants: Project) -> None:
    ask(tenants.database, "DELETE FROM acme.django_migrations WHERE app = 'library'")

    shared, acme = (
        {f["code"]: f for f in findings_of(tenants, "check_data_integrity", "--target", target)}
        for target in ("default", "acme")
    )
    assert "unapplied-migrations" not in shared
    assert acme["unapplied-migrations"]["evidence"]["waiting"] == ["library.0001_initial"]
    # Those of shared applications are noted as applied in each schema, and are none of its own.
    assert "unknown-migrations" not in {**shared, **acme}
