"""Settings advice: the guide's tables, what is left alone, and what is dangerous."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import ServerFacts
from maintenance.core.findings import Severity
from maintenance.postgres.server.checkpoints import CheckpointReading, read_checkpoints
from maintenance.postgres.settings.dangers import dangers
from maintenance.postgres.settings.machine import machine_of
from maintenance.postgres.settings.model import GB, MB, Load, Machine, Server, Setting, size_text
from maintenance.postgres.settings.review import changes_of, load_of, settings_report
from maintenance.postgres.settings.rules import recommended
from maintenance.postgres.settings.statements import alter_system, fragment, undo_of

#: PostgreSQL's own values: name, value, unit, kind, context.
DEFAULTS = (
    ("shared_buffers", "16384", "8kB", "integer", "postmaster"),
    ("effective_cache_size", "524288", "8kB", "integer", "user"),
    ("work_mem", "4096", "kB", "integer", "user"),
    ("maintenance_work_mem", "65536", "kB", "integer", "user"),
    ("max_connections", "100", None, "integer", "postmaster"),
    ("random_page_cost", "4", None, "real", "user"),
    ("effective_io_concurrency", "1", None, "integer", "user"),
    ("wal_buffers", "-1", "8kB", "integer", "postmaster"),
    ("checkpoint_completion_target", "0.9", None, "real", "sighup"),
    ("max_wal_size", "1024", "MB", "integer", "sighup"),
    ("autovacuum", "on", None, "bool", "sighup"),
    ("autovacuum_max_workers", "3", None, "integer", "postmaster"),
    ("autovacuum_naptime", "60", "s", "integer", "sighup"),
    ("autovacuum_vacuum_scale_factor", "0.2", None, "real", "sighup"),
    ("autovacuum_analyze_scale_factor", "0.1", None, "real", "sighup"),
    ("idle_in_transaction_session_timeout", "0", "ms", "integer", "user"),
    ("shared_preload_libraries", "", None, "string", "postmaster"),
    ("fsync", "on", None, "bool", "sighup"),
    ("full_page_writes", "on", None, "bool", "sighup"),
    ("zero_damaged_pages", "off", None, "bool", "superuser"),
    ("track_counts", "on", None, "bool", "superuser"),
    ("password_encryption", "scram-sha-256", None, "enum", "user"),
    ("log_min_duration_statement", "-1", "ms", "integer", "superuser"),
)


SEEN: dict[str, Any] = {"role": "maintenance", "measured_at": 1_800_000_000.0}


def setting(name: str, value: str | None = None, **changes: Any) -> Setting:
    (row,) = [row for row in DEFAULTS if row[0] == name]
    _, default, unit, kind, context = row
    known = {
        "unit": unit,
        "kind": kind,
        "context": context,
        "source": "default" if value is None else "configuration file",
        "source_file": None if value is None else "/etc/postgresql/postgresql.conf",
        "default": default,
        **changes,
    }
    return Setting(name, default if value is None else value, **known)


def server(machine: Machine | None = None, /, **changes: Any) -> Server:
    """Return a server with PostgreSQL's own settings, except for those given by name."""
    rest = {key: changes.pop(key) for key in ("major", "load", "service") if key in changes}
    settings = {row[0]: setting(row[0], changes.pop(row[0], None)) for row in DEFAULTS}
    assert not changes
    known: dict[str, Any] = {"major": 17, "load": Load(), **rest}
    return Server(settings=settings, machine=machine or Machine(), **known)


def advised(of: Server) -> dict[str, str]:
    return {r.name: r.value for r in recommended(of)}


def dangerous(of: Server) -> dict[str, tuple[str, Severity]]:
    return {r.name: (r.value, r.severity) for r in dangers(of)}


@pytest.mark.parametrize(
    ("memory_gb", "table"),
    [
        (1, ("256MB", "768MB", "4MB", "64MB")),
        (4, ("1GB", "3GB", "16MB", "256MB")),
        (8, ("2GB", "6GB", "32MB", "512MB")),
    ],
)
def test_the_guides_tables_are_the_rule_at_their_sizes(
    memory_gb: int, table: tuple[str, ...]
) -> None:
    tiny = {
        "shared_buffers": "1024",
        "effective_cache_size": "1024",
        "work_mem": "64",
        "maintenance_work_mem": "1024",
    }
    values = advised(server(Machine(memory_gb * GB), **tiny))
    assert tuple(values[name] for name in tiny) == table


def test_without_knowing_the_machine_nothing_of_memory_and_storage_is_advised() -> None:
    assert not advised(server()).keys() & {
        "shared_buffers",
        "effective_cache_size",
        "work_mem",
        "maintenance_work_mem",
        "random_page_cost",
        "effective_io_concurrency",
    }


def test_a_shared_machine_counts_half() -> None:
    assert advised(server(Machine(8 * GB, dedicated=False)))["shared_buffers"] == "1GB"


def test_what_is_good_enough_or_raised_on_purpose_is_left_alone() -> None:
    machine = Machine(8 * GB, 4, "ssd")
    good = server(
        machine,
        shared_buffers=str(3 * GB // 8192),
        effective_cache_size=str(5 * GB // 8192),
        work_mem=str(64 * 1024),
        maintenance_work_mem=str(2 * 1024**2),
        random_page_cost="1.5",
        effective_io_concurrency="100",
        autovacuum_naptime="15",
        autovacuum_vacuum_scale_factor="0.3",
        autovacuum_analyze_scale_factor="0.02",
        idle_in_transaction_session_timeout="7200000",
        shared_preload_libraries="auto_explain,$libdir/pg_stat_statements",
    )
    assert advised(good) == {}
    assert dangerous(good) == {}


def test_many_connections_make_work_mem_smaller() -> None:
    few = server(Machine(64 * GB), max_connections="100")
    many = server(Machine(64 * GB), max_connections="1000")
    assert advised(few)["work_mem"] == "256MB"
    assert advised(many)["work_mem"] == "26MB"


@pytest.mark.parametrize(
    ("major", "now", "wanted"),
    [(17, "1", "200"), (17, "0", None), (18, "16", None), (18, "1", "16")],
)
def test_io_concurrency_follows_the_version(major: int, now: str, wanted: str | None) -> None:
    of = server(Machine(storage="ssd"), major=major, effective_io_concurrency=now)
    assert advised(of).get("effective_io_concurrency") == wanted


def test_a_disk_keeps_its_page_cost() -> None:
    assert "random_page_cost" not in advised(server(Machine(storage="hdd")))


def test_wal_size_is_what_the_counted_checkpoints_ask_for() -> None:
    assert "max_wal_size" not in advised(server())
    load = Load(max_wal_size_bytes=4 * GB, early_checkpoint_ratio=0.75)
    assert advised(server(load=load))["max_wal_size"] == "4GB"
    assert "max_wal_size" not in advised(server(load=load, max_wal_size="8192"))


@pytest.mark.parametrize(("databases", "wanted"), [(1, "10s"), (20, "20s"), (40, None)])
def test_more_databases_need_a_longer_round(databases: int, wanted: str | None) -> None:
    assert advised(server(load=Load(databases))).get("autovacuum_naptime") == wanted


@pytest.mark.parametrize(
    ("name", "value", "wanted", "severity"),
    [
        ("fsync", "off", "on", Severity.CRITICAL),
        ("full_page_writes", "off", "on", Severity.CRITICAL),
        ("zero_damaged_pages", "on", "off", Severity.CRITICAL),
        ("autovacuum", "off", "on", Severity.WARNING),
        ("track_counts", "off", "on", Severity.WARNING),
        ("password_encryption", "md5", "scram-sha-256", Severity.WARNING),
        ("log_min_duration_statement", "0", "1s", Severity.WARNING),
        ("shared_buffers", str(4 * GB // 8192), "2GB", Severity.WARNING),
        ("effective_cache_size", str(9 * GB // 8192), "6GB", Severity.INFO),
        ("work_mem", str(256 * 1024), "32MB", Severity.WARNING),
        ("max_connections", "500", "", Severity.INFO),
    ],
)
def test_a_danger_is_named_with_the_value_that_ends_it(
    name: str, value: str, wanted: str, severity: Severity
) -> None:
    machine = Machine(8 * GB, 4, "ssd")
    assert dangerous(server(machine)) == {}
    assert dangerous(server(machine, **{name: value}))[name] == (wanted, severity)


def test_too_many_connections_for_any_work_mem_ask_for_a_pooler() -> None:
    (danger,) = [
        d for d in dangers(server(Machine(GB), max_connections="1000")) if d.name == "work_mem"
    ]
    assert danger.value == ""
    assert "PgBouncer" in danger.reason


sizes = st.integers(min_value=256 * MB, max_value=1024 * GB)


@given(sizes, st.integers(1, 5000), st.booleans())
def test_the_advised_memory_fits_and_is_no_danger(
    memory: int, connections: int, dedicated: bool
) -> None:
    machine = Machine(memory, dedicated=dedicated)
    before = server(machine, max_connections=str(connections))
    better = {r.name: r.value for r in (*dangers(before), *recommended(before)) if r.value}
    after = server(machine, max_connections=str(connections), **_raw(better))
    left = {r.name for r in (*dangers(after), *recommended(after)) if r.value}
    assert not left & better.keys()


def _raw(values: dict[str, str]) -> dict[str, str]:
    """Return values in the units of pg_settings, as the server would."""
    units = {"B": 1, "kB": 1024, "MB": MB, "GB": GB, "s": 1000, "h": 3_600_000}
    raw = {}
    for name, text in values.items():
        unit = setting(name).unit
        digits = text.rstrip("kMGBsh")
        number = float(digits) * units[text[len(digits) :]] if digits != text and unit else None
        factor = {"8kB": 8192, "kB": 1024, "MB": MB, "s": 1000, "ms": 1}.get(unit or "", 1)
        raw[name] = text if number is None else str(int(number // factor))
    return raw


@given(st.integers(0, 2**50))
def test_a_size_is_written_exactly(size: int) -> None:
    text = size_text(size)
    digits = text.rstrip("kMGB")
    factors = {"": 1, "B": 1, "kB": 1024, "MB": MB, "GB": GB}
    assert int(digits) * factors[text[len(digits) :]] == size


def test_a_list_is_quoted_name_by_name() -> None:
    of = setting("shared_preload_libraries", "auto_explain")
    (statement,) = alter_system(of, "auto_explain, pg_stat_statements")
    assert statement == (
        "ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'pg_stat_statements';"
    )


def test_undo_brings_back_what_stood_in_auto_conf_and_resets_the_rest() -> None:
    auto = {"source_file": "/data/postgresql.auto.conf"}
    assert undo_of(setting("work_mem", "8192", **auto))[0] == "ALTER SYSTEM SET work_mem = '8MB';"
    assert undo_of(setting("work_mem", "8192"))[0] == "ALTER SYSTEM RESET work_mem;"
    hidden = setting("work_mem", "8192", source_file=None)
    assert undo_of(hidden)[0] == "ALTER SYSTEM SET work_mem = '8MB';"


def test_the_lines_say_what_was_and_put_what_needs_a_restart_last() -> None:
    of = server(Machine(8 * GB))
    changes = [(c.setting, c.recommendation) for c in changes_of(of)]
    lines = fragment(changes, 0.0)
    assert lines[0] == "# Settings advised on 1970-01-01"
    restart = lines.index("# Need a restart:")
    assert [line.split(" = ")[0] for line in lines[restart + 1 :]] == [
        "shared_buffers",
        "shared_preload_libraries",
        "pg_stat_statements.track",
        "pg_stat_statements.max",
    ]
    assert any(line.startswith("work_mem = '32MB'") and "# was 4MB" in line for line in lines)


def finding_of(of: Server, name: str) -> Any:
    (finding,) = [f for f in settings_report(of, **SEEN).findings if f.subject == name]
    return finding


def test_what_the_command_line_sets_gets_no_statement_and_no_line() -> None:
    of = server()
    settings = {**of.settings, "fsync": setting("fsync", "off", source="command line")}
    of = Server(17, settings, Machine(), Load())
    finding = finding_of(of, "fsync")
    assert finding.commands == finding.undo == ()
    assert "command line" in finding.advice
    assert "fsync" not in finding_of(of, "postgresql.conf").commands[0]


def test_a_managed_server_gets_lines_but_no_alter_system() -> None:
    of = server(service="Amazon RDS")
    assert finding_of(of, "autovacuum_naptime").commands == ()
    assert "Amazon RDS" in finding_of(of, "autovacuum_naptime").advice
    assert "the settings of Amazon RDS" in finding_of(of, "postgresql.conf").sentence


def test_what_waits_for_a_restart_is_said_and_not_advised_again() -> None:
    of = server(Machine(8 * GB))
    pending = {**of.settings, "shared_buffers": setting("shared_buffers", is_pending=True)}
    report = settings_report(Server(17, pending, of.machine, Load()), **SEEN)
    assert "shared_buffers" not in {f.subject for f in report.findings}
    assert any(
        f.code == "settings-await-restart" and "shared_buffers was changed" in f.sentence
        for f in report.findings
    )


def test_what_is_not_known_is_said_to_be_unavailable() -> None:
    of = server()
    visible = {n: s for n, s in of.settings.items() if n != "shared_preload_libraries"}
    report = settings_report(Server(17, visible, Machine(), Load()), **SEEN)
    needs = " ".join(f.sentence for f in report.findings if not f.measured)
    for words in (
        "server.memory_bytes",
        "server.storage",
        "server.cpu_count",
        "GRANT pg_read_all_settings TO maintenance",
    ):
        assert words in needs


def checkpoints(*, comparable: bool = True, timed: int = 10) -> CheckpointReading:
    """Return 50 early checkpoints in the thousand seconds up to the time 2000."""
    row = {
        "timed": timed,
        "requested": 50,
        "wal_bytes": 100 * GB,
        "wal_position": 100 * GB,
        "checkpoints_since": 1000.0,
        "wal_since": 1000.0 if comparable else 10.0,
        "measured_at": 2000.0,
        "system_identifier": "1",
        "max_wal_size_bytes": GB,
        "max_wal_size": "1GB",
        "wal_segment_bytes": 16 * MB,
        "timeout_seconds": 300.0,
        "completion_target": 0.9,
    }
    return read_checkpoints(row, {})


@pytest.mark.parametrize(
    ("reading", "loaded_at", "says_more"),
    [
        (checkpoints(), 900.0, True),
        (checkpoints(), 1500.0, False),
        (checkpoints(comparable=False), 900.0, False),
        (checkpoints(timed=1000), 900.0, False),
        (None, 900.0, False),
    ],
)
def test_checkpoints_count_under_the_settings_of_today_alone(
    reading: CheckpointReading | None, loaded_at: float, *, says_more: bool
) -> None:
    load = load_of(3, reading, loaded_at)
    assert load.databases == 3
    assert (load.max_wal_size_bytes is not None) is says_more


def a_machine(root: Path, *, command: str = "postgres", group_limit: int | None = None) -> Path:
    """Write what the kernel tells of a process 77 that began 500 s after the machine."""
    process = root / "proc/77"
    process.mkdir(parents=True)
    fields = ["S", "1", *["0"] * 17, "50000", *["0"] * 10]  # the 20th after the name is the start
    (process / "stat").write_text(f"77 ({command}) {' '.join(fields)}")
    (process / "cgroup").write_text("0::/app/db\n")
    (root / "proc/stat").write_text("cpu 1 2 3\nbtime 1000\n")
    (root / "proc/meminfo").write_text("MemTotal:  8388608 kB\nMemFree: 1 kB\n")
    group = root / "sys/fs/cgroup/app"
    (group / "db").mkdir(parents=True)
    (group / "db/memory.max").write_text("max\n")
    (group / "memory.max").write_text(f"{group_limit or 'max'}\n")
    return root


def test_a_server_on_this_machine_is_measured_and_shares_it(tmp_path: Path) -> None:
    found = machine_of(ServerFacts(), "127.0.0.1", 77, 1500.5, a_machine(tmp_path))
    assert found.memory_bytes == 8 * GB
    assert found.cpu_count is not None
    assert not found.dedicated
    assert found.origin == "this machine"
    assert found.storage is None


def test_a_control_group_limits_the_memory(tmp_path: Path) -> None:
    root = a_machine(tmp_path, group_limit=2 * GB)
    assert machine_of(ServerFacts(), "", 77, 1500.0, root).memory_bytes == 2 * GB


@pytest.mark.parametrize(
    ("host", "pid", "started_at", "command"),
    [
        ("db.example.org", 77, 1500.0, "postgres"),
        ("127.0.0.1", 78, 1500.0, "postgres"),
        ("127.0.0.1", 77, 1600.0, "postgres"),
        ("127.0.0.1", 77, 1500.0, "sshd"),
    ],
)
def test_a_loopback_address_alone_proves_nothing(
    tmp_path: Path, host: str, pid: int, started_at: float, command: str
) -> None:
    root = a_machine(tmp_path, command=command)
    assert machine_of(ServerFacts(), host, pid, started_at, root) == Machine()


def test_what_is_configured_goes_before_what_is_seen(tmp_path: Path) -> None:
    given_facts = ServerFacts(memory_bytes=4 * GB, storage="hdd")
    found = machine_of(given_facts, "127.0.0.1", 77, 1500.0, a_machine(tmp_path))
    assert (found.memory_bytes, found.storage, found.dedicated) == (4 * GB, "hdd", True)
    assert found.origin == "the configuration"
