"""The preset of Paperless-ngx on a site of its shape, seen from outside by the site's own variables."""

import json
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import redis
from django.core.management import call_command
from psycopg2 import sql

from maintenance.conf import configuration
from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger
from maintenance.schedules import CHECKLISTS
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from tests import paperless_site
from tests.explained_lines import unexplained
from tests.integration.test_postgres_readiness import login
from tests.postgres_clients import ask

pytestmark = pytest.mark.django_db(transaction=True)

PREFIX = "archive-"

Told = tuple[RunState, tuple[str, ...]]


def measured(*words: str) -> Told:
    """A line that looked, and said this in its summary or findings."""
    return RunState.SUCCEEDED, words


def skipped(*words: str) -> Told:
    """A line with nothing to look at, and why."""
    return RunState.SKIPPED, words


#: What each line of the checklists says of the site; its server has no extensions, its role no more rights
#: than the site needs.
DAILY = {
    "review_slow_queries": measured("needs CREATE EXTENSION pg_stat_statements in this database"),
    "check_queue_depths": measured(
        f"{paperless_site.WAITING} messages wait in 1 queues",
        "A worker has held a message for 1.5 hours",
        "after 1 hour the broker hands it to another one",
    ),
    "review_error_rates": skipped("there is no log target"),
    "trim_streams": measured("no stream family is configured on site"),
    "invalidate_caches": measured('no invalidation rule is configured for cache "site"'),
    "warm_caches": measured('no warmer is registered for cache "site"'),
    "check_redis_memory": measured(
        f"for {3 * paperless_site.CACHED + 8} keys",
        "site has no maxmemory",
        "site holds a broker and writes nothing to disk",
    ),
    "check_process_memory": measured("are available"),
    "check_disk_space": measured("file system"),
    "sample_database_load": measured("The database has"),
    "prove_slots": skipped("No scheduler has recorded any schedule yet"),
    "send_digest": skipped("[notifications] names nobody"),
}
WEEKLY = {
    "optimize_images": skipped("there is no media target"),
    "report_table_bloat": measured("public.auditlog_logentry"),
    "report_index_bloat": measured("by_hand_repr"),
    "review_activity": measured("needs GRANT pg_read_all_stats TO"),
    "review_vacuum_health": measured(
        f"public.django_celery_results_taskresult has {paperless_site.DEAD:,} dead rows"
    ),
    "review_database_server": measured("topics of the server are in order"),
    "review_cache_hit_ratios": measured(
        "its counters have no ratio of a cache",
        "the hit ratio of each key prefix of site needs a backend that counts",
    ),
    "review_database_cache_hit_ratio": measured("block reads were hits"),
    "review_database_growth": measured("needs 4 measurements over 14 days"),
    "review_n_plus_one": skipped("no performance_log is configured"),
    "review_static_files": skipped("there is no site target"),
    "review_server_configuration": skipped("there is no deployment target"),
    "check_disk_space": measured("file system"),
    "send_digest": skipped("[notifications] names nobody"),
}
#: Without the audit, which is of our own service as much.
MONTHLY = {
    "review_slow_queries": measured("needs CREATE EXTENSION pg_stat_statements in this database"),
    "report_unused_indexes": measured(
        "by_hand_repr", "the verdict is withheld, because the counters must cover 30 days first"
    ),
    "report_redundant_indexes": measured(
        "public.documents_document.by_hand_created", "does the same as"
    ),
    "report_missing_indexes": measured(
        "None of 15 foreign keys lack an index", "needs CREATE EXTENSION pg_stat_statements"
    ),
    "check_data_integrity": measured("Nothing is broken", "needs CREATE EXTENSION amcheck"),
    "vacuum_analyze": measured("were vacuumed or analyzed", "dead rows removed"),
    "reindex_bloated_indexes": skipped('add allow = ["reindex"] to it'),
    "review_caching_strategy": measured("this needs a backend that counts"),
    "report_orphaned_media": skipped("there is no media target"),
    "trim_reports": measured("no run is older than"),
}


@pytest.fixture(scope="module")
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The filled database; its role owns it, and is no superuser."""
    name = f"paperless_{secrets.token_hex(4)}"
    role = sql.Identifier(name)
    postgres_server.ensure_database(name)
    url = postgres_server.url(name)
    ask(url, sql.SQL("CREATE ROLE {} LOGIN").format(role))
    ask(url, sql.SQL("ALTER DATABASE {} OWNER TO {}").format(role, role))
    ask(url, sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(role))
    own = login(url, name)
    paperless_site.fill_database(own)
    yield own
    ask(postgres_server.url(), sql.SQL("DROP DATABASE {} (FORCE)").format(role))
    ask(postgres_server.url(), sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture
def by_its_variables(
    database: str, redis_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset alone, and what stands in the site's own environment."""
    parts = urlsplit(database)
    for name, value in {
        "DBHOST": parts.hostname,
        "DBPORT": str(parts.port),
        "DBNAME": parts.path[1:],
        "DBUSER": parts.username,
        "DBPASS": unquote(parts.password or ""),
        "REDIS": redis_url,
    }.items():
        monkeypatch.setenv(f"PAPERLESS_{name}", value or "")
    settings.MAINTENANCE = {"preset": "paperless-ngx"}


def carried_out(checklist: str, names: dict[str, Told]) -> dict[str, tuple[Run, Report]]:
    """Run these lines of a checklist in this process, each on its one target."""
    done: dict[str, tuple[Run, Report]] = {}
    for line in CHECKLISTS[checklist]:
        spec = task_named(line.task)
        [target] = spec.target_names(configuration())
        if line.task in names:
            origin = Origin(Trigger.BEAT, checklist=checklist)
            run = work_here(ledger.create_run(spec, target, dict(line.options), origin))
            done[line.task] = run, ledger.stored_document(run).report
    return done


def untold(done: dict[str, tuple[Run, Report]], expected: dict[str, Told]) -> list[str]:
    """Return what the lines do not say, or how else they ended."""
    missing = []
    for task, (state, words) in expected.items():
        run, report = done[task]
        said = "\n".join([report.summary, *(finding.sentence for finding in report.findings)])
        if run.state != state:
            missing.append(f"{task} {run.state}: {run.reason}")
        missing += [f"{task}: {word!r} is not in {said!r}" for word in words if word not in said]
    return missing


def everything_in(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter(count=1000)}


def shape_of(url: str) -> list[tuple[Any, ...]]:
    """Return each relation of the site with its file, which a rewrite would replace, and each setting."""
    return ask(
        url,
        "SELECT oid, relname, relfilenode, reloptions FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY oid",
    )


def test_each_line_measures_what_ails_the_site_or_says_why_it_does_not(
    by_its_variables: None, database: str, redis_url: str
) -> None:
    assert DAILY.keys() == {line.task for line in CHECKLISTS["daily"]}
    assert WEEKLY.keys() == {line.task for line in CHECKLISTS["weekly"]}
    assert MONTHLY.keys() | {"run_performance_audit"} == {
        line.task for line in CHECKLISTS["monthly"]
    }
    with redis.Redis.from_url(redis_url) as client:
        paperless_site.fill_redis(client)
        keys, shape = everything_in(client), shape_of(database)

        assert not untold(carried_out("daily", DAILY), DAILY)
        weekly = carried_out("weekly", WEEKLY)
        assert not untold(weekly, WEEKLY)
        monthly = carried_out("monthly", MONTHLY)
        assert not untold(monthly, MONTHLY)

        assert everything_in(client) == keys
        assert shape_of(database) == shape
    assert not weekly["review_cache_hit_ratios"][1].samples, "no line below a target that it misses"
    outcomes = {each.action.subject: each for each in monthly["vacuum_analyze"][1].outcomes}
    vacuumed = outcomes["public.django_celery_results_taskresult"]
    assert vacuumed.after["removed_rows"] == paperless_site.DEAD


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_what_attach_proposes_reads_the_same_queue_and_cache(
    prefix: str, database: str, redis_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site whose prefix nobody told us: its queue must not pass for an empty one."""
    with redis.Redis.from_url(redis_url) as client:
        paperless_site.fill_redis(client, prefix)
    out = StringIO()
    call_command("maintenance", "attach", database, redis_url, stdout=out, stderr=StringIO())
    assert 'preset = "paperless-ngx"' in out.getvalue()
    assert unexplained(out.getvalue()) == []
    monkeypatch.setenv("SITE_DATABASE_URL", database)
    monkeypatch.setenv("SITE_REDIS_URL", redis_url)
    settings.MAINTENANCE = tomllib.loads(out.getvalue())

    queues = {"check_queue_depths": DAILY["check_queue_depths"]}
    assert not untold(carried_out("daily", queues), queues)
    assert configuration().caches["site"].key_prefix == prefix
    doctored = StringIO()
    with suppress(SystemExit):  # a ledger without schedules is a fault of its own
        call_command("maintenance", "doctor", "--json", stdout=doctored, stderr=StringIO())
    reports = {each["title"]: each for each in json.loads(doctored.getvalue())["reports"]}
    of_the_site = [reports[f"{kind}.site"] for kind in ("databases", "redis", "brokers", "caches")]
    needed = {f["code"] for each in of_the_site for f in each["findings"] if f["severity"] != "ok"}
    assert "right-monitor" in needed
    assert not needed & {"right-read", "right-vacuum"}, "its role owns the tables and the database"
    assert all(each["severity"] != "critical" for each in of_the_site)


def test_a_server_behind_a_socket_is_read_by_the_variable_of_the_site(
    by_its_variables: None, server_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, password = server_root / "socket", secrets.token_hex(8)
    path = folder / "data" / "redis.sock"  # where the server's account may write
    settings = {"appendonly": "no", "unixsocket": str(path), "unixsocketperm": "777"}
    with EmbeddedValkey(folder, password, settings=settings):
        address = f"unix://:{password}@{path}?db=2"
        monkeypatch.setenv("PAPERLESS_REDIS", address)
        with redis.Redis.from_url(address) as client:
            paperless_site.fill_redis(client)
        daily = {name: DAILY[name] for name in ("check_queue_depths", "check_redis_memory")}
        daily["invalidate_caches"] = DAILY["invalidate_caches"]
        assert not untold(carried_out("daily", daily), daily)
        weekly = {"review_cache_hit_ratios": WEEKLY["review_cache_hit_ratios"]}
        assert not untold(carried_out("weekly", weekly), weekly)
