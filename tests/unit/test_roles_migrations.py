"""The migrations that make the roles, in projects that name Django's users in other ways than usual."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.up_process import ROOT, clean_environment

SETTINGS = """
from tests.plainsite.settings import *
INSTALLED_APPS = [{apps} "django.contrib.contenttypes", "django_celery_beat", "maintenance"]
"""
OWN_CONFIG = """
from django.contrib.auth.apps import AuthConfig
class People(AuthConfig):
    verbose_name = "People"
"""
LOOK = """
import django
django.setup()
from django.db.migrations.loader import MigrationLoader
for (label, name), migration in MigrationLoader(None).disk_migrations.items():
    changes = [one for one in migration.operations if type(one).__name__ == "ChangeGroups"]
    if label == "maintenance" and changes:
        print(name)
"""


@pytest.mark.parametrize(
    ("auth", "made_by"),
    [
        ("django.contrib.auth", ["0007_roles", "0009_notifications"]),
        ("django.contrib.auth.apps.AuthConfig", ["0007_roles", "0009_notifications"]),
        ("crew_people.People", ["0007_roles", "0009_notifications"]),
        ("", []),
    ],
)
def test_roles_are_made_wherever_django_has_groups(
    tmp_path: Path, auth: str, made_by: list[str]
) -> None:
    (tmp_path / "crew_people.py").write_text(OWN_CONFIG)
    (tmp_path / "crew_settings.py").write_text(SETTINGS.format(apps=f'"{auth}",' if auth else ""))
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=ROOT,
        env=clean_environment(
            DJANGO_SETTINGS_MODULE="crew_settings", PYTHONPATH=f"{tmp_path}:{ROOT}"
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == made_by
