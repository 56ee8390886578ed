"""No password leaves in a text, whatever it is made of."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maintenance.core.redaction import address_of, redact

#: Long enough that no password is a part of the words around it.
passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=30).filter(
    lambda text: quote(text, safe="") not in "postgres://crew:@host.example:5432/library"
)
schemes = st.sampled_from(["postgres", "postgresql", "redis", "rediss", "amqp", "https"])


@given(schemes, passwords)
def test_a_quoted_password_in_a_url_is_never_shown(scheme: str, password: str) -> None:
    quoted = quote(password, safe="")
    text = f"connection to {scheme}://crew:{quoted}@host.example:5432/library failed"

    assert redact(text) == f"connection to {scheme}://crew:***@host.example:5432/library failed"


@given(schemes, st.text("aB0+/=?#", min_size=8, max_size=44).filter(lambda text: "/" in text))
def test_a_password_that_nobody_quoted_is_never_shown(scheme: str, password: str) -> None:
    text = redact(f"connection to {scheme}://crew:x{password}@host.example:5432/library failed")

    assert text == f"connection to {scheme}://crew:***@host.example:5432/library failed"


@given(schemes, passwords)
def test_a_password_without_a_user_is_never_shown(scheme: str, password: str) -> None:
    text = redact(f"{scheme}://:{quote(password, safe='')}@host.example/0")

    assert text == f"{scheme}://:***@host.example/0"


@given(passwords)
def test_a_password_in_a_libpq_string_is_never_shown(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")

    text = redact(f"host=h user=u password='{quoted}' dbname=d")

    assert text == "host=h user=u password=*** dbname=d"


@given(passwords.map(lambda text: text.replace("\\", "")).filter(lambda text: len(text) > 5))
def test_a_password_in_a_statement_is_never_shown(password: str) -> None:
    literal = password.replace("'", "''")

    text = redact(f"ALTER ROLE crew PASSWORD '{literal}' VALID UNTIL 'infinity'")

    assert text == "ALTER ROLE crew PASSWORD '***' VALID UNTIL 'infinity'"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("REDIS_PASSWORD=hunter2 up", "REDIS_PASSWORD=*** up"),
        ('{"password": "hunter2", "user": "u"}', '{"password": ***, "user": "u"}'),
        ("{'PASSWORD': 'hunter2'}", "{'PASSWORD': ***}"),
        ("requirepass: hunter2; port: 6379", "requirepass: ***; port: 6379"),
        ("postgres://h/d?user=u&password=hunter2&x=1", "postgres://h/d?user=u&password=***&x=1"),
        ("password='it''s hunter2'", "password=***"),
        ("DJANGO_SECRET_KEY=hunter2", "DJANGO_SECRET_KEY=***"),
        ("postgres://u:p@ss:w@rd@h/d", "postgres://u:***@h/d"),
        ("OPTIONS (password 'hunter2')", "OPTIONS (password '***')"),
        ("redis://:pa/ss@h:6379/0", "redis://:***@h:6379/0"),
        ("amqp://u:pa/s?s#@h//", "amqp://u:***@h//"),
        ("redis://:a@b/c@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://:a@h1/0,redis://:b/c@h2/0", "redis://:***@h1/0,redis://:***@h2/0"),
        ("postgres://u:hunter2@h/d?user=a@b", "postgres://u:***@h/d?user=a@b"),
        ("https://u:hunter/2@h/", "https://u:***@h/"),
        ("one redis://:a@h1/0 and redis://:b@h2/0", "one redis://:***@h1/0 and redis://:***@h2/0"),
    ],
)
def test_each_way_to_write_a_password_is_known(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "VACUUM public.password_reset took 3 s",
        "The password is not told here.",
        "http://host.example:8000/admin/maintenance/run/",
        "ratio: 0.5, tokens: 12",
        "mail to crew@site.example: done",
        "http://host.example:8000/~crew@site.example/",
        '{"url":"redis://h:6379/0","to":"crew@site.example"}',
    ],
)
def test_words_that_hold_no_secret_stay(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.sampled_from("ab:/@='\" ,&\\\npassword=token:://"), max_size=60) | st.text())
@example("a://b:token=/,@c")
@example("password='a'b")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://:secret@cache.example:6379/0", "redis://cache.example:6379/0"),
        ("postgres://u:secret@[::1]:5432/d?sslmode=require", "postgres://[::1]:5432/d"),
        ("postgres://u:secret@h1:1,h2:2/d", "postgres://h1:1,h2:2/d"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
        ("redis://:se@cret@h:port/0", "redis://h:port/0"),
        ("postgres://u:secret@[::1/d", "postgres://u:***@[::1/d"),
        ("redis://:sec/ret@h:6379/0", "redis://h:6379/0"),
        ("redis://:sec?ret@h:6379/0", "redis://h:6379/0"),
        ("redis://:sec#ret@h:6379/0", "redis://h:6379/0"),
        ("postgres://me:12/secret@h/d?sslmode=require", "postgres://h/d"),
        ("amqp://u:sec/ret@h//", "amqp://h//"),
        ("http://h:8000/a@b", "http://h:8000/a@b"),
    ],
)
def test_an_address_finds_the_server_and_holds_no_credentials(url: str, address: str) -> None:
    assert address_of(url) == address


@given(passwords)
def test_an_address_never_holds_the_password(password: str) -> None:
    url = f"redis://crew:{quote(password, safe='')}@host.example:6379/0"

    assert address_of(url) == "redis://host.example:6379/0"
