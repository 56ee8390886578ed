"""The built wheel in projects that are not ours: an empty one by the README's lines, and a grown one."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.built_package import ROOT
from tests.embedding_project import Project, lines_of_the_readme

pytestmark = pytest.mark.timeout(600)


def test_sdist_and_wheel_hold_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "maintenance").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with tarfile.open(built[0]) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert ours <= in_sdist
    in_wheel = set(zipfile.ZipFile(built[1]).namelist())
    assert {name for name in in_wheel if ".dist-info/" not in name} == ours
    assert any(name.endswith("licenses/LICENSE") for name in in_wheel)


def test_an_empty_project_runs_a_task_by_the_lines_of_the_readme(
    project: Project, tmp_path: Path
) -> None:
    project.add(lines_of_the_readme(tmp_path / "log"))
    project.manage("migrate", "--verbosity", "0")
    project.manage("sync_schedules")
    [where] = project.shell("import maintenance; print(maintenance.__file__)")
    assert str(ROOT) + "/" not in where
    with project.worker():
        said = project.manage("maintenance", "run", "review_activity", "--target", "default")
    assert "Activity" in said
    assert list((tmp_path / "log").rglob("*.json")), "the report lies in the project's storage"


GROWN = """
INSTALLED_APPS += ["people"]
AUTH_USER_MODEL = "people.Person"
DATABASES["default"]["OPTIONS"]["options"] = "-c search_path=crew"
ROOT_URLCONF = "people.urls"
ALLOWED_HOSTS = ["testserver"]
"""
PEOPLE = """
from django.contrib.auth.models import AbstractUser
from django.db import models
class Person(AbstractUser):
    username = None
    email = models.EmailField(unique=True)
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []
"""
SECOND_SITE = """
from django.contrib import admin
from django.urls import include, path
from maintenance.admin.runs import RunAdmin
from maintenance.models import Run
ops = admin.AdminSite(name="ops")
ops.register(Run, RunAdmin)
urlpatterns = [
    path("admin/", admin.site.urls),
    path("ops/", ops.urls),
    path("crew/", include("maintenance.urls")),
]
"""
LOOK = """
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
person = get_user_model()(email="ada@example.com", is_staff=True, is_superuser=True)
person.save()
client = Client()
client.force_login(person)
for page in ("/admin/maintenance/", "/admin/maintenance/run/", "/ops/", "/ops/maintenance/run/"):
    print(page, client.get(page).status_code)
with connection.cursor() as cursor:
    cursor.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'maintenance%%'")
    print(*cursor.fetchall())
"""


def test_a_project_with_its_own_users_schema_and_second_admin_runs_a_task(
    project: Project, tmp_path: Path
) -> None:
    project.write(
        {
            "people/__init__.py": "",
            "people/migrations/__init__.py": "",
            "people/models.py": PEOPLE,
            "people/urls.py": SECOND_SITE,
        }
    )
    project.add(lines_of_the_readme(tmp_path / "log") + GROWN)
    schema = "from django.db import connection; connection.cursor().execute('CREATE SCHEMA crew')"
    project.shell(schema)
    project.manage("makemigrations", "people", "--verbosity", "0")
    project.manage("migrate", "--verbosity", "0")
    project.manage("maintenance", "run", "check_disk_space", "--target", "local", "--now",
                   "--fail-on", "critical")  # fmt: skip
    said = project.shell(LOOK)
    assert [line.rpartition(" ")[2] for line in said[:4]] == ["200"] * 4, said
    assert said[4:] == ["('crew',)"]
