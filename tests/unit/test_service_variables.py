"""Variables that are no text: read in every spelling, refused with what to write, unset where they are empty."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maintenance.core.errors import ConfigurationError
from service.variables import is_on, whole_number

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("word", ["1", "true", "True", "YES", "on", " on "])
def test_what_means_yes_switches_on(word: str) -> None:
    assert is_on("EMAIL_USE_TLS", {"EMAIL_USE_TLS": word}) is True


@pytest.mark.parametrize("given", [{}, *({"EMAIL_USE_TLS": w} for w in ("", "0", "False", "no"))])
def test_what_means_no_or_nothing_leaves_off(given: dict[str, str]) -> None:
    assert is_on("EMAIL_USE_TLS", given) is False


@pytest.mark.parametrize("word", ["starttls", "2", "yes please"])
def test_any_other_word_is_refused_with_what_to_write(word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"EMAIL_USE_TLS is '{word}'.* Write 1"):
        is_on("EMAIL_USE_TLS", {"EMAIL_USE_TLS": word})


@pytest.mark.parametrize(("text", "number"), [("", 25), ("587", 587), (" 0 ", 0)])
def test_a_number_is_read_and_an_empty_one_is_the_default(text: str, number: int) -> None:
    assert whole_number("EMAIL_PORT", 25, {"EMAIL_PORT": text}) == number


@pytest.mark.parametrize("text", ["smtp", "-1", "25.5", "²"])
def test_what_is_no_number_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"EMAIL_PORT is .* digits alone, such as 25"):
        whole_number("EMAIL_PORT", 25, {"EMAIL_PORT": text})


def settings_with(tmp_path: Path, **variables: str) -> dict[str, Any]:
    """Return what the settings of production have with these variables."""
    asked = (
        "import json\nfrom service import production as p\n"
        "print(json.dumps([p.EMAIL_USE_TLS, p.SECURE_HSTS_SECONDS, p.TIME_ZONE, p.ALLOWED_HOSTS,"
        " p.DATABASES['default']['NAME']]))"
    )
    started = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "MAINTENANCE_STATE": str(tmp_path), **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    names = ("tls", "hsts", "zone", "hosts", "database")
    return dict(zip(names, json.loads(started.stdout), strict=True))


def test_variables_that_are_empty_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    names = (
        "DJANGO_HSTS_SECONDS", "MAINTENANCE_TIMEZONE", "DJANGO_ALLOWED_HOSTS", "DATABASE_URL",
        "EMAIL_PORT", "EMAIL_USE_SSL",
    )  # fmt: skip
    found = settings_with(tmp_path, EMAIL_USE_TLS="true", **dict.fromkeys(names, ""))

    assert found == {
        "tls": True,
        "hsts": 365 * 86_400,
        "zone": "UTC",
        "hosts": ["localhost", "127.0.0.1", "[::1]"],
        "database": "maintenance",
    }
