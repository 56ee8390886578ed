"""The built wheel in projects that are not ours: an empty one by the README's lines, and a grown one."""

import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.built_package import ROOT, build, clean_environment
from tests.local_containers import ProcessContainer
from tests.polling import eventually
from tests.up_process import clean_environment as shell

pytestmark = pytest.mark.timeout(600)

README = (ROOT / "README.md").read_text()
#: What Django's "First steps" of Celery have an empty project say; it is no matter of ours.
CELERY = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yoursite.settings")
app = Celery("yoursite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
DATABASE = """
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": %r, "USER": %r,
    "PASSWORD": %r, "HOST": %r, "PORT": %r, "OPTIONS": {}}}
CELERY_BROKER_URL = %r
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """sdist and wheel."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment with the wheel in it."""
    return clean_environment(tmp_path_factory.mktemp("environment"), built[1])


class Project:
    """A Django project in a folder of its own, made as a person makes it."""

    def __init__(self, folder: Path, python: Path, database: str, broker: str) -> None:
        self.folder = folder
        self.python = python
        self.settings = folder / "yoursite" / "settings.py"
        self.call(str(python), "-m", "django", "startproject", "yoursite", ".")
        (folder / "yoursite" / "celery.py").write_text(CELERY)
        (folder / "yoursite" / "__init__.py").write_text("from .celery import app\n")
        at = urlsplit(database)
        given = (at.path[1:], at.username, at.password, at.hostname, at.port, broker)
        self.add(DATABASE % given)

    def add(self, lines: str) -> None:
        """Append to the settings."""
        with self.settings.open("a") as file:
            file.write(lines + "\n")

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py; return what it printed."""
        return self.call(str(self.python), "manage.py", *arguments)

    def call(self, *command: str) -> str:
        """Run a command in the project's folder; fail with its output where it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=shell(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def project(
    tmp_path: Path, python: Path, make_database: Callable[[], str], redis_url: str
) -> Iterator[Project]:
    """An empty project with a database and a broker."""
    folder = tmp_path / "project"
    folder.mkdir()
    yield Project(folder, python, make_database(), redis_url)
    shutil.rmtree(folder)


def lines_of_the_readme(log_folder: Path) -> str:
    """Return what the README says to write into the settings."""
    section = README[README.index("**As an app**") : README.index("## The guide's commands")]
    code = re.findall(r"`([^`\n]+)`", section)
    wanted = [
        line
        for line in code
        if line.startswith(("INSTALLED_APPS", "MAINTENANCE", "STORAGES[", "from "))
    ]
    ordered = sorted(wanted, key=lambda line: not line.startswith("from "))
    assert len(ordered) == 4, ordered
    return "\n".join(ordered).replace("/var/log/yoursite", str(log_folder))


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
    where = "import maintenance; print(maintenance.__file__)"
    assert str(ROOT) + "/" not in project.manage("shell", "-v", "0", "-c", where)
    # In the project's folder, and not in ours, which has a `maintenance` as well.
    text = f"cd {project.folder} && exec {project.python} -m celery -A yoursite worker"
    command = ["sh", "-c", f"{text} -Q high,medium,low -c 1 -l INFO"]
    worker = ProcessContainer(
        "worker",
        lambda _node: command,
        tmp_path,
        environment={"DJANGO_SETTINGS_MODULE": "yoursite.settings"},
    )
    try:
        eventually(lambda: b" ready." in worker.logs(), 150, "the project's worker is ready")
        said = project.manage("maintenance", "run", "review_activity", "--target", "default")
    finally:
        worker.remove()
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
    people = project.folder / "people"
    (people / "migrations").mkdir(parents=True)
    for path, text in (
        ("__init__.py", ""),
        ("migrations/__init__.py", ""),
        ("models.py", PEOPLE),
        ("urls.py", SECOND_SITE),
    ):
        (people / path).write_text(text)
    project.add(lines_of_the_readme(tmp_path / "log") + GROWN)
    schema = "from django.db import connection; connection.cursor().execute('CREATE SCHEMA crew')"
    project.manage("shell", "-v", "0", "-c", schema)
    project.manage("makemigrations", "people", "--verbosity", "0")
    project.manage("migrate", "--verbosity", "0")
    project.manage("maintenance", "run", "check_disk_space", "--target", "local", "--now",
                   "--fail-on", "critical")  # fmt: skip
    said = project.manage("shell", "-v", "0", "-c", LOOK).splitlines()
    assert [line.rpartition(" ")[2] for line in said[:4]] == ["200"] * 4, said
    assert said[4:] == ["('crew',)"]
