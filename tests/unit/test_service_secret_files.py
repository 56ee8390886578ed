"""Secrets from files become variables and parts of addresses; mistakes are said."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import ConfigurationError
from service.secret_files import adopt_secret_files, with_password, without_password


def test_a_file_becomes_the_variable_without_its_last_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    environment = {"DJANGO_SECRET_KEY_FILE": str(tmp_path / "key")}
    adopt_secret_files(environment)
    assert environment["DJANGO_SECRET_KEY"] == "s3cret"


def test_a_password_goes_into_its_address_once_and_again(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/w:rd\n")
    environment = {
        "REDIS_URL": "redis://redis:6379/0",
        "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
        "DATABASE_URL": "postgres://maintenance@db/ledger?sslmode=require",
        "DATABASE_PASSWORD": "x y",
    }
    for _ in range(2):
        adopt_secret_files(environment)
        assert environment["REDIS_URL"] == "redis://:p%40ss%2Fw%3Ard@redis:6379/0"
        assert (
            environment["DATABASE_URL"] == "postgres://maintenance:x%20y@db/ledger?sslmode=require"
        )


def test_an_address_from_a_file_takes_the_password_beside_it(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://u@db/ledger")
    environment = {"DATABASE_URL_FILE": str(tmp_path / "url"), "DATABASE_PASSWORD": "p"}
    for _ in range(2):  # settings and Celery's application both ask
        adopt_secret_files(environment)
    assert environment["DATABASE_URL"] == "postgres://u:p@db/ledger"


def test_an_empty_file_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("\n")
    environment = {"SITE_DATABASE_URL_FILE": str(tmp_path / "url"), "SITE_REDIS_URL_FILE": ""}
    adopt_secret_files(environment)
    assert "SITE_DATABASE_URL" not in environment
    assert "SITE_REDIS_URL" not in environment


def test_two_values_for_one_secret_are_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one")
    environment = {"DJANGO_SECRET_KEY": "two", "DJANGO_SECRET_KEY_FILE": str(tmp_path / "key")}
    with pytest.raises(
        ConfigurationError, match="Both DJANGO_SECRET_KEY and DJANGO_SECRET_KEY_FILE"
    ):
        adopt_secret_files(environment)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_PASSWORD_FILE, cannot be read: No such"):
        adopt_secret_files({"REDIS_PASSWORD_FILE": str(tmp_path / "none")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="it is not text"):
        adopt_secret_files({"REDIS_PASSWORD_FILE": str(tmp_path / "binary")})


@given(password=st.text(min_size=1))
def test_any_password_comes_out_of_the_address_as_it_went_in(password: str) -> None:
    try:
        password.encode()
    except UnicodeEncodeError:  # half a surrogate pair is no text
        return
    url = with_password("postgres://maintenance@db:5432/ledger", password)
    parts = urlsplit(url)
    assert (unquote(parts.password or ""), parts.username, parts.hostname, parts.port) == (
        password,
        "maintenance",
        "db",
        5432,
    )
    assert without_password(url) == "postgres://maintenance@db:5432/ledger"
