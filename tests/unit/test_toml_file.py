"""What of a broken configuration file is read, what is said of the rest, and where a setting stands."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf.toml_file import ReadableFile, read_file, readable

PASSWORD = "h1dden-everywhere"

SOUND = """\
timezone = "UTC"

[databases.site]
url = "env:SITE"

[[databases.site.windows]]
start = "01:00"
end = "02:00"

[[databases.site.windows]]
start = "03:00"
end = "04:00"

[redis]
main = { url = "env:MAIN", role = "cache" }

[brokers.site]
url = "env:BROKER"
queues = [
    "high",
    "low",
]
"""


@pytest.fixture
def read(tmp_path: Path):
    """Read a text from a file."""

    def read_text(text: str | bytes) -> ReadableFile:
        path = tmp_path / "maintenance.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_file(path)

    return read_text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_sound_file_is_read_whole(read, line_end: str) -> None:
    file = read(SOUND.replace("\n", line_end))
    assert file.faults == ()
    assert sorted(file.mapping) == ["brokers", "databases", "redis", "timezone"]
    assert len(file.mapping["databases"]["site"]["windows"]) == 2


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("timezone", 1),
        ("databases", 3),
        ("databases.site", 3),
        ("databases.site.url", 4),
        ("databases.site.direct_url", 3),  # which is missing: where it belongs
        ("databases.site.windows.0.start", 7),
        ("databases.site.windows.1.end", 12),
        ("redis.main.role", 15),
        ("brokers.site.queues.1", 19),
        ("caches.site.url", None),
    ],
)
def test_a_setting_is_found_by_its_path(read, path: str, line: int | None) -> None:
    assert read(SOUND).line_of(path.split(".")) == line


@pytest.mark.parametrize(
    ("text", "line", "says", "left"),
    [
        # A setting of its own: nothing else goes with it.
        ("a = 1\nb\nc = 3\n", 2, "Write name = value", {"a", "c"}),
        ("a = 1\nb = word\nc = 3\n", 2, "Text stands in quotes", {"a", "c"}),
        ('a = 1\nb = "word\nc = 3\n', 2, "Close the quotes", {"a", "c"}),
        ("a = 1\nb = 2 c = 3\nd = 4\n", 2, "one setting a line", {"a", "d"}),
        ("a = 1\na = 2\nb = 3\n", 2, "The name stands twice", {"a", "b"}),
        ("a = 1\nb = [\n  1,\n  word,\n  2,\n]\nc = 3\n", 2, "", {"a", "c"}),
        ("a = 1\nb = {\n  c = 2,\n}\nd = 4\n", 2, "", {"a", "d"}),
        ('a = 1\nb = """\nc = 3\n', 2, "Close the quotes", {"a"}),
        ("a = 1\nb = [1,\nc = 3\n", 2, "", {"a"}),
        ("a = 2026-02-31\nb = 1\n", 1, "", {"b"}),
        ("a = " + "9" * 5000 + "\nb = 1\n", 1, "", {"b"}),
        # A target: half of one would have faults of its own.
        ("[x.one]\na = 1\nb\n[x.one.c]\nd = 1\n[x.two]\na = 2\n", 3, "Write name", {"x"}),
        ("[y]\na = 1\n[x.one\nb = 1\n[z]\nc = 1\n", 3, "Close the name", {"y", "z"}),
        ("[x]\na = 1\n[y]\nb = 1\n[x]\nc = 1\n[z]\n", 5, "stands twice", {"x", "y", "z"}),
        ("[x]\none = { a = 1\ntwo = { a = 2 }\n", 2, "", {"x"}),
    ],
)
def test_a_fault_is_told_with_its_line_and_the_rest_is_read(
    read, text: str, line: int, says: str, left: set[str]
) -> None:
    file = read(text)
    assert [fault.line for fault in file.faults] == [line]
    [fault] = file.faults
    assert says in fault.mend
    assert fault.sentence.startswith("is no TOML: ")
    assert set(file.mapping) == left
    first, last = fault.left_out
    assert first <= line <= last


def test_half_a_target_is_not_looked_at_and_its_neighbours_are(read) -> None:
    file = read("[x.one]\na = 1\nb\n[x.one.c]\nd = 1\n[x.two]\na = 2\n[x]\nthree = 3\nfour\n")
    assert file.mapping == {"x": {"two": {"a": 2}, "three": 3}}
    assert [fault.left_out for fault in file.faults] == [(1, 5), (10, 10)]


def test_several_faults_are_told_at_once_in_the_order_of_their_lines(read) -> None:
    text = 'preset = bookwyrm\ntimezone "UTC"\n[redis.a]\nurl = "x\n[redis.b]\nurl = "env:B"\n[redis.c\n'
    file = read(text)
    assert [fault.line for fault in file.faults] == [1, 2, 4, 7]
    assert file.mapping == {"redis": {"b": {"url": "env:B"}}}


def test_a_line_that_is_no_utf8_is_a_fault_of_its_own(read) -> None:
    file = read('a = 1\nb = "Bücher"\nc = 3\n'.encode("latin-1"))
    [fault] = file.faults
    assert (fault.line, fault.sentence, fault.mend) == (2, "is no UTF-8", "Save the file as UTF-8.")
    assert file.mapping == {"a": 1, "c": 3}


def test_the_mark_that_some_editors_write_at_the_begin_is_none_of_the_text(read) -> None:
    assert read(b"\xef\xbb\xbfa = 1\n").mapping == {"a": 1}


def test_a_file_that_is_not_there_is_a_fault_of_the_whole(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        file = read_file(path)
        [fault] = file.faults
        assert (file.mapping, fault.line) == ({}, 0)
        assert fault.sentence.startswith("cannot be read: ")
        assert "unset MAINTENANCE_CONFIG" in fault.mend


def test_nothing_of_the_file_is_repeated(read) -> None:
    for broken in (
        f'url = "postgres://me:{PASSWORD}@h/d',
        f"url = postgres://me:{PASSWORD}@h/d",
        f'url = "{PASSWORD}" {PASSWORD}',
        f'url = "\\{PASSWORD}"',
    ):
        [fault] = read(f"[databases.site]\n{broken}\n").faults
        assert PASSWORD not in fault.sentence + fault.mend


_PIECES = st.sampled_from(
    [
        "[a.b]",
        "[[a.b]]",
        "[a",
        "[",
        "x = 1",
        'x = "',
        'y = """',
        "z = [",
        "]",
        "{",
        "}",
        "q = { w = 1,",
        "'''",
        "# comment",
        "",
        "a.b = 1",
        "\\",
        "= 1",
        '["a"]',
        "a = [[1],",
    ]
)


@given(st.lists(_PIECES, max_size=12))
def test_any_file_comes_to_an_end_and_what_is_left_is_sound(
    lines: list[str],
) -> None:
    file = readable(Path("any.toml"), "\n".join(lines).encode())
    assert all(1 <= fault.line <= max(1, len(lines)) for fault in file.faults)
    assert readable(Path("any.toml"), "\n".join(file.lines).encode()).mapping == file.mapping
    file.line_of(["a", "b", "x"])
