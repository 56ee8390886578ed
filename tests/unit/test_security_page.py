"""The table of safe defaults in SECURITY.md says what the code does."""

import ast
import re
from pathlib import Path

import pytest

from maintenance import conf
from maintenance.conf.access import AccessTokens
from maintenance.conf.load_test import LoadTestTarget
from maintenance.conf.media import MediaTarget
from maintenance.conf.whole import Configuration

ROOT = Path(__file__).parents[2]
SECTIONS = {
    cls.__name__: cls
    for cls in (
        AccessTokens,
        Configuration,
        LoadTestTarget,
        MediaTarget,
        conf.DatabaseTarget,
        conf.RedisTarget,
    )
}
_TABLE = (ROOT / "SECURITY.md").read_text().partition("## Safe defaults")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \| `(.*)` \| `(.*)` \|$", _TABLE, re.MULTILINE)


def test_the_table_is_read() -> None:
    assert len(ROWS) == _TABLE.count("\n|") - 2 > 20


@pytest.mark.parametrize(("what", "value", "place"), ROWS, ids=[row[2] for row in ROWS])
def test_a_default_is_what_the_page_says(what: str, value: str, place: str) -> None:
    if "::" in place:
        file, _, name = place.partition("::")
        assert assigned(ROOT / file)[name] == value, what
    else:
        section, _, name = place.partition(".")
        assert repr(SECTIONS[section].model_fields[name].default) == value, what


def assigned(path: Path) -> dict[str, str]:
    """Return what a settings file assigns, as it is written; keys of ``setdefault`` after a dot."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = ast.unparse(value)
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(id=name), "setdefault"), [key, value])):
                found[f"{name}.{ast.literal_eval(key)}"] = ast.unparse(value)
    return found
