"""A Django project that is not ours, with the built wheel in it: made, migrated and run as a person does."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.built_package import ROOT, build, clean_environment
from tests.local_containers import ProcessContainer
from tests.polling import eventually
from tests.up_process import clean_environment as shell

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
START_SECONDS = 150
SCHEDULER = "maintenance.core.scheduling.scheduler:LedgerScheduler"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """sdist and wheel."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment with the wheel in it."""
    return clean_environment(tmp_path_factory.mktemp("environment"), built[1])


class Project:
    """A Django project in a folder of its own, made as a person makes it."""

    def __init__(self, folder: Path, python: Path, database: str, broker: str) -> None:
        self.folder = folder
        self.python = python
        self.database = database
        self.settings = folder / "yoursite" / "settings.py"
        self.call(str(python), "-m", "django", "startproject", "yoursite", ".")
        self.write(
            {"yoursite/celery.py": CELERY, "yoursite/__init__.py": "from .celery import app\n"}
        )
        at = urlsplit(database)
        given = (at.path[1:], at.username, at.password, at.hostname, at.port, broker)
        self.add(DATABASE % given)

    def add(self, lines: str) -> None:
        """Append to the settings."""
        with self.settings.open("a") as file:
            file.write(lines + "\n")

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, by their paths in the project's folder."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py; return what it printed."""
        return self.call(str(self.python), "manage.py", *arguments)

    def shell(self, code: str) -> list[str]:
        """Run code in the project; return the lines that it printed."""
        return self.manage("shell", "-v", "0", "-c", code).splitlines()

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

    @contextmanager
    def worker(self, queues: str = "high,medium,low") -> Iterator[ProcessContainer]:
        """The project's own worker, from when it takes messages to the end of the block."""
        with self._program("worker", "-Q", queues, "-c", "1") as worker:
            eventually(lambda: b" ready." in worker.logs(), START_SECONDS, "the worker is ready")
            yield worker

    @contextmanager
    def beat(self) -> Iterator[ProcessContainer]:
        """The project's own beat with our scheduler, from when it leads to the end of the block."""
        with self._program("beat", "--scheduler", SCHEDULER, "--pidfile=") as beat:
            leads = b" leads from now on"
            eventually(lambda: leads in beat.logs(), START_SECONDS, "the project's beat leads")
            yield beat

    @contextmanager
    def _program(self, name: str, *arguments: str) -> Iterator[ProcessContainer]:
        # In the project's folder, and not in ours, which has a `maintenance` as well.
        celery = [
            str(self.python),
            "-m",
            "celery",
            "-A",
            "yoursite",
            name,
            *arguments,
            "-l",
            "INFO",
        ]
        text = f"cd {shlex.quote(str(self.folder))} && exec {shlex.join(celery)}"
        container = ProcessContainer(
            name,
            lambda _node: ["sh", "-c", text],
            self.folder.parent,
            environment={"DJANGO_SETTINGS_MODULE": "yoursite.settings"},
        )
        try:
            yield container
        finally:
            container.remove()


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
