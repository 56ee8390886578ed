"""Values that the environment completes."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import DatabaseTarget
from maintenance.conf.references import missing_of, pieces_of, resolve_secret, shown
from maintenance.core.errors import ConfigurationError

NESTED = "${URL:-redis://:${PASSWORD:-}@${HOST:-cache}:6379/0}"


@given(st.text(min_size=1))
def test_any_password_comes_out_of_a_url_as_it_went_in(password: str) -> None:
    url = resolve_secret("postgres://${USER}:${PASSWORD}@h/d", {"USER": "u", "PASSWORD": password})
    assert url.startswith("postgres://u:")
    quoted = url.removeprefix("postgres://u:").removesuffix("@h/d")
    assert unquote(quoted) == password
    assert not set("@:/ ") & set(quoted)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "redis://:@cache:6379/0"),
        ({"PASSWORD": "a b", "HOST": "h"}, "redis://:a%20b@h:6379/0"),
        ({"URL": "unix:///run/redis.sock?db=1", "PASSWORD": "x"}, "unix:///run/redis.sock?db=1"),
        ({"URL": ""}, "redis://:@cache:6379/0"),
    ],
)
def test_what_stands_there_otherwise_may_have_places_of_its_own(
    environment: dict[str, str], url: str
) -> None:
    assert resolve_secret(NESTED, environment) == url


@pytest.mark.parametrize(
    "reference",
    [
        "postgres://u:${PASS:-${OTHER}}@h/d",
        "postgres://u:${PASS:-${NONE:-${OTHER}}}@h/d",
        "postgres://u:${OTHER}@h/d",
    ],
)
def test_what_stands_in_for_a_place_is_quoted_like_it(reference: str) -> None:
    assert resolve_secret(reference, {"OTHER": "a/b@c"}) == "postgres://u:a%2Fb%40c@h/d"
    assert resolve_secret("${URL:-${OTHER}}", {"OTHER": "redis://h/1"}) == "redis://h/1"


def test_what_is_missing_is_named_all_of_it() -> None:
    assert list(missing_of("postgres://${A}:${B:-${C}}@${D:-db}/d", {})) == ["A", "C"]
    assert list(missing_of("env:NAME", {})) == ["NAME"]
    assert list(missing_of("file:/no/such/file", {})) == ["/no/such/file"]
    assert list(missing_of(NESTED, {})) == []
    with pytest.raises(ConfigurationError, match="The environment variable A is not set"):
        resolve_secret("postgres://${A}/d", {})


@pytest.mark.parametrize("reference", ["env:A", "${A}", "${B:-${A}}"])
def test_an_empty_variable_is_no_whole_value(reference: str) -> None:
    """To libpq an empty address is a database of its own choice."""
    with pytest.raises(ConfigurationError, match="The environment variable A is empty"):
        resolve_secret(reference, {"A": ""})
    assert list(missing_of(reference, {"A": ""})) == ["A"]


def test_an_empty_password_in_a_url_is_one() -> None:
    assert resolve_secret("redis://:${A}@h/0", {"A": ""}) == "redis://:@h/0"
    assert list(missing_of("redis://:${B:-${A}}@h/0", {"A": ""})) == []


def test_an_empty_file_is_no_value_and_is_missed(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("\n")
    reference = f"file:{tmp_path / 'url'}"
    with pytest.raises(ConfigurationError, match=r"The secret file .*/url is empty"):
        resolve_secret(reference)
    assert list(missing_of(reference)) == [str(tmp_path / "url")]


def test_an_address_that_is_nothing_otherwise_opens_no_database() -> None:
    with pytest.raises(
        ConfigurationError, match=r'"\$\{NONE:-\}", is empty. Write it as postgres://'
    ):
        DatabaseTarget(url="${NONE:-}").connection_parameters()


@pytest.mark.parametrize("half", ["redis://${A", "redis://${}", "redis://${A:b}", "redis://${1}"])
def test_half_a_place_is_refused(half: str) -> None:
    with pytest.raises(ValueError, match="a place must be written as"):
        pieces_of(half)


@pytest.mark.parametrize(
    "text", [NESTED, "env:NAME", "file:/run/secret", "postgres://${U}:${P}@h/d"]
)
def test_references_are_shown_as_they_are(text: str) -> None:
    assert shown(text) == text


def test_passwords_are_never_shown() -> None:
    assert shown("redis://u:hunter2@${HOST:-h}/0") == "redis://u:***@${HOST:-h}/0"
    assert "hunter2" not in shown("redis://u:${X_PASSWORD:-hunter2}@h/0")
    assert "hunter2" not in shown("${URL:-redis://:hunter2@h/0}")
