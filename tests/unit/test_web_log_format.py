"""Formats as servers have them: what a server writes by one is read back, whatever stands in it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import ConfigurationError
from maintenance.web.format_parts import Escape, quoted_words
from maintenance.web.log_format import Column, fields_pattern, parse_format, row_pattern
from maintenance.web.log_rows import JsonRows, PatternRows, row_reader, shape_of

TIMED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent $request_time'
)
LINE = b'10.0.0.1 - - [25/Nov/2026:14:07:31 +0000] "GET /book/7?secret=x HTTP/1.1" 200 512 0.083'

VALUES = {
    "time_local": st.just("25/Nov/2026:14:07:31 +0100"),
    "request": st.builds(
        lambda path, query: f"GET /{path}{query} HTTP/1.1",
        st.text(st.characters(exclude_characters=" ?\n\r", exclude_categories=("Cs", "Cc"))),
        st.sampled_from(["", "?q=1&token=abc"]),
    ),
    "status": st.integers(100, 599).map(str),
    "body_bytes_sent": st.integers(0, 10**12).map(str),
    "request_time": st.floats(0, 9999).map(lambda seconds: f"{seconds:.3f}"),
    "http_user_agent": st.text(max_size=30),
    "http_x_custom": st.text(max_size=30),
}


def nginx_escaped(value: str, escape: Escape) -> bytes:
    """Write a value as ngx_http_log_escape and ngx_escape_json do."""
    raw = value.encode()
    if escape is Escape.DEFAULT:
        return b"".join(
            b"\\x%02X" % byte if byte < 32 or byte > 126 or byte in b'"\\' else bytes([byte])
            for byte in raw
        )
    return json.dumps(value, ensure_ascii=False)[1:-1].encode()


SEPARATORS = st.text(st.sampled_from(" |;:,<>[]-=~"), min_size=1, max_size=3)


@st.composite
def formats_and_lines(draw):
    """A format of quoted variables in any order, and a line that a server writes by it."""
    escape = draw(st.sampled_from([Escape.DEFAULT, Escape.JSON]))
    names = draw(st.permutations(sorted(VALUES)))
    text, line, values = "", b"", {}
    for name in names:
        before, values[name] = draw(SEPARATORS), draw(VALUES[name])
        text += f'{before}"${name}"'
        line += before.encode() + b'"' + nginx_escaped(values[name], escape) + b'"'
    return f"log_format any escape={escape} '{text}';", escape, names, values, line


@given(formats_and_lines())
def test_any_format_reads_back_what_the_server_wrote(drawn):
    text, escape, names, values, line = drawn
    parsed = parse_format(text)
    found = fields_pattern(parsed).fullmatch(line)
    assert found is not None
    assert list(found.groups()) == [nginx_escaped(values[name], escape) for name in names]
    ((time, path, status, size, seconds),) = PatternRows(parsed, "UTC").rows(line + b"\n")
    assert (time, status) == (values["time_local"].encode(), values["status"].encode())
    assert (size, seconds) == (
        values["body_bytes_sent"].encode(),
        values["request_time"].encode(),
    )
    written = nginx_escaped(values["request"], escape)
    assert written.startswith(b"GET " + path)
    assert b"?" not in path
    assert re.match(rb"[ ?\\]", written[4 + len(path) :])


def row_of(text: str, line: bytes):
    (row,) = row_reader(text, {}, "UTC").rows(line + b"\n")
    return row


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TIMED, LINE),
        (f"log_format timed '{TIMED}';", LINE),
        (
            ("log_format  timed  '$remote_addr - $remote_user [$time_local] '\n"
            "    '\"$request\" $status '\n\t'$body_bytes_sent $request_time';"),
            LINE,
        ),
        (
            'LogFormat "%h %l %u %t \\"%r\\" %>s %b %{ms}T" timed',
            LINE.replace(b"0.083", b"83"),
        ),
        (
            ("log_format j escape=json '{\"t\":\"$time_iso8601\",\"s\":$status,\"r\":\"$request\","
            "\"b\":$bytes_sent,\"d\":\"$request_time\"}';"),
            (b'{"t":"2026-11-25T14:07:31+00:00","s":200,"r":"GET /book/7?x=\\"1\\" HTTP/1.1","b":512,'
            b'"d":"0.083"}'),
        ),
        (
            "%{%Y-%m-%d %H:%M:%S}t %>s %B %D %m %U %q",
            b"2026-11-25 14:07:31 200 512 83000 GET /book/7 ?secret=x",
        ),
        ("$msec $request_uri $status $bytes_sent $upstream_response_time",
         b"1795702051.123 /book/7?a=b 200 512 0.050, 0.033"),
    ],
)  # fmt: skip
def test_formats_of_both_servers_give_the_same_row(text, line):
    reader = row_reader(text, {}, "UTC")
    time, path, status, size, seconds = row_of(text, line)
    assert (path, status, size) == (b"/book/7", b"200", b"512")
    assert int(reader.read_time(time)) in {1795615651, 1795702051}
    assert reader.read_seconds(seconds) == pytest.approx(0.083)


@pytest.mark.parametrize(
    ("line", "path", "status"),
    [
        (rb'1.2.3.4 - - [25/Nov/2026:14:07:31 +0000] "\x16\x03\x01" 400 157 0.000', b"", b"400"),
        (b'1.2.3.4 - - [25/Nov/2026:14:07:31 +0000] "" 408 0 60.000', b"", b"408"),
        (b'1.2.3.4 - a b [25/Nov/2026:14:07:31 +0000] "GET / HTTP/2.0" 200 5 -', b"/", b"200"),
        (b'::1 - - [25/Nov/2026:14:07:31 +0000] "GET /a b HTTP/1.1" 400 5 0.0', b"/a", b"400"),
        (b'::1 - - [25/Nov/2026:14:07:31 +0000] "GET / HTTP/1.1" 200 5 0.0\r', b"/", b"200"),
    ],
)
def test_requests_that_are_none_still_are_lines(line, path, status):
    row = row_of(TIMED, line)
    assert (row[1], row[2]) == (path, status)


@pytest.mark.parametrize(
    "line",
    [b"", LINE[:-30], LINE + b" more", b"GET / HTTP/1.1", LINE.replace(b" 200", b" 2000")],
)
def test_what_does_not_fit_gives_no_row(line):
    assert row_reader(TIMED, {}, "UTC").rows(line + b"\n") == []


def test_a_hole_before_a_line_hides_nothing():
    """A writer that does not append leaves zeros where its file was truncated."""
    assert row_of(TIMED, b"\x00" * 300 + LINE) == row_of(TIMED, LINE)


def test_a_hostile_line_costs_time_in_proportion_to_its_length():
    pattern, _ = row_pattern(parse_format("$a - $b - $c - $d [$time_local] $request $status|$e"))
    assert pattern.findall((b" - " * 60_000) + b"\n") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("combind", 'Did you mean "combined"?'),
        ('[$time_local] "$reqest" $status', 'Did you mean "reqest"?'),
        ('"$request" [$time_local] $body_bytes_sent', "no status"),
        ('"$request" $status', "no time"),
        ("$status$request [$time_local]", "nothing between $status and $request"),
        ("log_format a escape=jsn '$status';", 'Did you mean "json"?'),
        ("%{%Q}t %r %>s", "%Q is not known"),
    ],
)
def test_a_format_that_cannot_be_read_says_why(text, said):
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        parse_format(text)


def test_columns_come_in_one_order_whatever_the_format():
    pattern, order = row_pattern(parse_format('$request_time $status "$request" $time_iso8601'))
    assert order is not None
    found = pattern.findall(b'0.5 200 "GET /x HTTP/1.1" 2026-11-25T14:07:31+00:00\n')[0]
    assert [found[place] for place in order] == [
        b"2026-11-25T14:07:31+00:00", b"/x", b"200", b"", b"0.5",
    ]  # fmt: skip
    assert len(order) == len(Column)


def test_words_of_a_directive_may_hold_quotes_and_escapes():
    assert quoted_words(r"""log_format a 'it\'s "$status"' "\"x\"" bare""") == [
        "log_format", "a", 'it\'s "$status"', '"x"', "bare",
    ]  # fmt: skip


def test_json_with_its_own_keys():
    reader = JsonRows({"seconds": "took_ms", "path": "url"}, "UTC")
    line = json.dumps(
        {
            "url": "/a?b=c",
            "status": 503,
            "took_ms": 1500,
            "time": "2026-11-25T14:07:31Z",
            "bytes": 9,
        }
    ).encode()
    (row,) = reader.rows(line + b"\n")
    assert row == (b"2026-11-25T14:07:31Z", b"/a", b"503", b"9", b"1.500000")
    assert reader.read_seconds(row[4]) == 1.5
    assert reader.rows(b'{"status": 200\n[1]\n"x"\n{"status":"abc","time":1}\n') == []


@given(st.binary(max_size=300))
def test_the_shape_of_a_line_shows_none_of_its_letters_and_digits(line):
    shape = shape_of(line)
    assert set(re.findall(r"[A-Za-z0-9]", shape)) <= {"a", "9"}
    assert shape.isprintable()
