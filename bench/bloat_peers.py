"""What other tools say of the bloat of the same relations, in bytes that a rewrite would give back.

None of them is a dependency: one that is not installed is said to be so and left out. A relation
that a tool does not name counts as free of bloat, for that is what its reader takes from it. Sizes
that are printed in kB or MB carry that rounding (at most 0.5 kB below 10 MB).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bench.server import Run

#: Relation (a table, or an index) -> wasted bytes.
Wasted = Mapping[str, float]

CHECK_PGACTIVITY = Path("/usr/lib/nagios/plugins/check_pgactivity")
PGEXTRAS = "pgextras==0.2.1"
TIMEOUT_SECONDS = 120
#: check_postgres looks at the ten worst unless told otherwise.
EVERY_RELATION = 1_000_000

_UNITS = {"B": 1, "bytes": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3}

_PRINT_PGEXTRAS = """
import json, sys
from pgextras import PgExtras
with PgExtras(dsn=sys.stdin.read()) as peer:
    print(json.dumps([[r.object_name, r.waste] for r in peer.bloat() if r.schemaname == "public"]))
"""


class NotInstalled(Exception):
    """A peer is not on this machine; the text says how it comes there."""


def check_postgres(url: str) -> Wasted:
    """Ask check_postgres. Raises :class:`NotInstalled`."""
    place = urlsplit(url)
    # It exits with 2 where anything is bloated: that is an answer.
    return parse_check_postgres(
        _output(
            "apt-get install check-postgres",
            [
                "check_postgres_bloat",
                f"--host={place.hostname}",
                f"--port={place.port}",
                f"--dbuser={place.username}",
                f"--dbname={place.path[1:]}",
                "--warning=1 k",
                "--critical=1 k",
                f"--perflimit={EVERY_RELATION}",
            ],
            url,
        )
    )


def parse_check_postgres(text: str) -> Wasted:
    """Read the performance data, such as ``public.orders=2605056B orders_id=622592B``."""
    _said, _bar, data = text.partition(" | ")
    found = re.findall(r"(?:'([^']+)'|(\S+))=(\d+)B", data)
    return {(quoted or bare).removeprefix("public."): float(size) for quoted, bare, size in found}


def check_pgactivity(url: str) -> Wasted:
    """Ask check_pgactivity's table_bloat and btree_bloat. Raises :class:`NotInstalled`."""
    place = urlsplit(url)
    wasted: dict[str, float] = {}
    for service in ("table_bloat", "btree_bloat"):
        text = _output(
            "apt-get install check-pgactivity",
            [
                str(CHECK_PGACTIVITY),
                *("--service", service, "--format", "debug", "--warning", "0%"),
                *("--critical", "100%", "--host", str(place.hostname), "--port", str(place.port)),
                *("--username", str(place.username), "--dbname", place.path[1:]),
            ],
            url,
        )
        wasted |= parse_check_pgactivity(text)
    return wasted


def parse_check_pgactivity(text: str) -> Wasted:
    """Read lines such as ``site.public.orders 2.496MB/3.528MB (70.67%);``."""
    line = r"\w+\.public\.(?P<name>.+) (?P<size>[\d.]+)(?P<unit>kB|MB|GB|B)/\S+ \("
    return {
        found["name"]: float(found["size"]) * _UNITS[found["unit"]]
        for found in re.finditer(line, text)
    }


def pgextras(url: str) -> Wasted:
    """Ask a Python port of pg-extras, installed for the moment. Raises :class:`NotInstalled`."""
    with tempfile.TemporaryDirectory(prefix="bench-pgextras-") as folder:
        _output(
            f"pip install {PGEXTRAS}",
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--retries", "0"),
                *("--no-deps", "--target", folder, PGEXTRAS),
            ],
            url,
            accepts=(0,),
        )
        text = _output(
            f"pip install {PGEXTRAS}",
            [sys.executable, "-c", _PRINT_PGEXTRAS],
            url,
            accepts=(0,),
            python_path=folder,
        )
    return parse_pgextras(text)


def parse_pgextras(text: str) -> Wasted:
    """Read pairs of a name, ``table`` or ``table::index``, and a size such as ``2544 kB``."""
    wasted: dict[str, float] = {}
    for name, size in json.loads(text):
        number, unit = size.split()
        wasted[name.rpartition("::")[2]] = float(number) * _UNITS[unit]
    return wasted


def _output(
    how_to_install: str,
    command: list[str],
    url: str,
    *,
    accepts: tuple[int, ...] = (0, 1, 2, 3),
    python_path: str = "",
) -> str:
    environment = os.environ | {"PGPASSWORD": unquote(urlsplit(url).password or "")}
    if python_path:
        environment["PYTHONPATH"] = python_path
    try:
        done = subprocess.run(
            command,
            input=url,
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise NotInstalled(how_to_install) from None
    if done.returncode not in accepts:
        raise NotInstalled(how_to_install)
    return done.stdout


#: Free and dead bytes of the table, as pgstattuple counts them on every page.
_PGSTATTUPLE = """
SELECT c.relname, s.free_space + s.dead_tuple_len
FROM pg_class AS c, LATERAL public.pgstattuple(c.oid) AS s
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""

#: Leaves at their density against leaves as full as the fillfactor says; inner pages stay.
_PGSTATINDEX = """
SELECT c.relname,
       s.index_size - 8192 * (
           1 + s.internal_pages
           + s.leaf_pages * s.avg_leaf_density / coalesce(
               (SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                WHERE option_name = 'fillfactor'), 90)
       )
FROM pg_class AS c
JOIN pg_index AS i ON i.indexrelid = c.oid
CROSS JOIN LATERAL public.pgstatindex(c.oid::regclass) AS s
WHERE c.relnamespace = 'public'::regnamespace
"""


def pgstattuple(run: Run) -> Wasted:
    """Read every page with the extension. Raises :class:`NotInstalled`."""
    known = run("SELECT 1 FROM pg_available_extensions WHERE name = 'pgstattuple'")
    if not known:
        raise NotInstalled("apt-get install postgresql-contrib")
    run("CREATE EXTENSION IF NOT EXISTS pgstattuple")
    rows = run(_PGSTATTUPLE) + run(_PGSTATINDEX)
    return {name: max(0.0, float(size)) for name, size in rows}


#: By the name in the results; each is asked with the URL of the database.
BY_URL: Mapping[str, Callable[[str], Wasted]] = {
    "check_postgres": check_postgres,
    "check_pgactivity": check_pgactivity,
    "pgextras": pgextras,
}
