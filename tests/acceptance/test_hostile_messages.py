"""Whoever can write to the broker sends what he likes: a real worker logs it, and does nothing."""

import base64
import json
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery
from django.contrib.auth.models import User

from maintenance.core.runs.dispatch import record_run, start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, Trigger
from tests.celery_nodes import WorkerFactory
from tests.local_containers import ROOT
from tests.polling import eventually
from tests.signing_keys import sign_by

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="ann")
NOTE = "maintenance.note_high"
SQL = "'; DROP TABLE auth_user CASCADE; --"


def send(app: Celery, body: Any, task: str = NOTE, task_id: object = "", **properties: Any) -> None:
    """Publish a message as it is, past Celery's own checks of what is sent."""
    headers = {"task": task, "id": task_id or str(uuid.uuid4()), "lang": "py"}
    given = {
        "headers": headers | {"argsrepr": "", "kwargsrepr": ""},
        "content_type": "application/json",
        "content_encoding": "utf-8",
    } | properties
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    with app.connection_for_write() as connection, connection.channel() as channel:
        exchange = kombu.Exchange("maintenance", type="direct")
        kombu.Producer(channel, exchange=exchange).publish(text, routing_key="high", **given)


def message(**arguments: Any) -> list[Any]:
    """Return the body of a message in Celery's protocol 2."""
    return [[], arguments, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def state_of(run: Run) -> str:
    run.refresh_from_db()
    return str(run.state)


@pytest.fixture
def testapp_environment(testapp_environment: dict[str, str]) -> dict[str, str]:
    """A site all of whose runs have a row first, as the service has it."""
    return testapp_environment | {"TESTAPP_RECORDED_RUNS_ONLY": "1"}


def test_hostile_messages_are_logged_and_do_nothing(
    make_worker: WorkerFactory, celery_setup_app: Celery
) -> None:
    app = celery_setup_app
    worker = make_worker("high")
    User.objects.create_user("witness")
    dry = record_run(task_named("vacuum_analyze"), "default", {"dry_run": True}, BY_HAND)

    send(app, message(), task="os.system")
    send(app, b"cos\nsystem\n.", content_type="application/x-python-serialize")
    for text in ("{no json", "[]", "null", '{"a": 1}', "[1, 2, 3]"):
        send(app, text)
    send(app, message(), headers={"task": NOTE, "id": ["a", "list"], "timelimit": "soon"})
    send(app, message(), task_id=SQL)
    send(app, message(target="library\nCRITICAL the disk is full"))
    send(app, message(target={"$ne": ""}))
    send(app, message(options={"number": "\x00"}))
    send(app, message(options={"padding": "x" * 2_000_000}))
    send(app, message(shell="rm -rf /"))
    send(app, message(target=SQL))
    send(app, message(target="default"), task="maintenance.vacuum_full")
    send(app, message(target="default"), task="maintenance.vacuum_analyze", task_id=str(dry.id))
    good = start_run(task_named("note_high"), "", {"number": 7}, BY_HAND)

    eventually(lambda: state_of(good) == RunState.SUCCEEDED, 60, "the worker is still at work")
    # Nothing was recorded but what was recorded before, and nothing of that was done.
    assert set(Run.objects.values_list("id", flat=True)) == {good.id, dry.id}
    assert state_of(dry) == RunState.QUEUED
    assert User.objects.filter(username="witness").exists()
    log = worker.logs()
    for words in (
        "Received unregistered task of type 'os.system'",
        "Refusing to deserialize untrusted content of type pickle",
        f"A message for {NOTE} does nothing: its id is none of a run.",
        f"A message for {NOTE} does nothing: its target is no name.",
        f"A message for {NOTE} does nothing: its options are longer than",
        f"A message for {NOTE} does nothing: its options hold what no database stores.",
        "A message for maintenance.vacuum_full does nothing: it has no row in the ledger",
        "A message for maintenance.vacuum_analyze does nothing: it says otherwise than its row",
    ):
        assert words in log, words
    assert "\nCRITICAL the disk is full" not in log
    assert len(log) < 200_000


def envelope(app: Celery, **changes: Any) -> dict[str, Any]:
    """Return a message as kombu writes it into a queue's list."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        way = {"exchange": "maintenance", "routing_key": "high"}
        headers = {"task": NOTE, "id": str(uuid.uuid4()), "lang": "py"}
        properties = {
            "delivery_info": way,
            "delivery_tag": str(uuid.uuid4()),
            "body_encoding": "base64",
        }
        body, _ = channel.encode_body(json.dumps(message()), "base64")
    return {
        "body": body, "content-type": "application/json", "content-encoding": "utf-8",
        "headers": headers, "properties": properties,
    } | changes  # fmt: skip


def push(app: Celery, *items: str | bytes) -> None:
    """Put items into a queue's list, past kombu."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        for item in items:
            channel.client.lpush("high", item)


def unreadable(app: Celery) -> list[str | bytes]:
    """Return items of a list that are no message of kombu's."""
    whole = envelope(app)
    properties = whole["properties"]
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000), 9)).decode()
    return [
        "no json",
        b"\xff\xfe",
        "[" * 100_000,
        *map(json.dumps, (
            5, None, [], {}, {"properties": []},
            *({**whole, "properties": properties | change} for change in (
                {"delivery_tag": ["a"]}, {"delivery_info": 5}, {"delivery_info": {}},
                {"body_encoding": 5}, {"body_encoding": "rot13"}, {"delivery_tag": "\ud800"},
            )),
            {name: value for name, value in whole.items() if name != "properties"},
            {**whole, "body": "YWJjZ"},
            {**whole, "body": 5},
            {**whole, "headers": 5},
            {**whole, "headers": {"a": {"__type__": "Decimal", "__value__": "none"}}},
            {**whole, "headers": json.loads('{"a":' * 900 + "5" + "}" * 900)},
            {**whole, "headers": whole["headers"] | {"compression": "gzip"}, "body": bomb},
        )),
    ]  # fmt: skip


def faulty(app: Celery) -> list[str]:
    """Return messages whose headers Celery stumbles on."""
    whole = envelope(app)
    changes = (
        {"task": []}, {"task": {}}, {"task": 5}, {"task": None}, {"id": {}}, {"id": "\ud800"},
        {"timelimit": ["soon", "late"]}, {"timelimit": 5}, {"task": "os.system", "id": None},
    )  # fmt: skip
    return [
        *(json.dumps({**whole, "headers": whole["headers"] | change}) for change in changes),
        *(json.dumps(whole | {"content-type": what}) for what in (["x"], {}, 5)),
        *(json.dumps(whole | {"content-encoding": what}) for what in (["x"], {}, 5)),
        json.dumps({**whole, "headers": {"task": "os.system"}}),
        json.dumps({**whole, "headers": {}}),
    ]


@pytest.mark.parametrize("items", [unreadable, faulty])
def test_what_is_no_message_ends_no_worker_and_is_gone(
    make_worker: WorkerFactory, celery_setup_app: Celery, items: Callable[[Celery], list[Any]]
) -> None:
    app = celery_setup_app
    worker = make_worker("high")
    sent = items(app)

    push(app, *sent)
    with app.connection_for_write() as connection, connection.channel() as channel:
        pidbox = f"/{channel.connection.client.virtual_host}.celery.pidbox"
        for item in sent:
            channel.client.publish(pidbox, item)
    good = start_run(task_named("note_high"), "", {"number": 7}, BY_HAND)

    eventually(lambda: state_of(good) == RunState.SUCCEEDED, 60, "the worker is still at work")
    log = worker.logs()
    assert log.count("discarded: ") >= len(sent)
    assert "Unrecoverable error" not in log
    assert max(map(len, log.splitlines())) < 5_000
    with app.connection_for_write() as connection, connection.channel() as channel:
        eventually(lambda: not channel.client.hlen("unacked"), 30, "nothing is given back")
        assert not channel.client.llen("high")
    assert Run.objects.get() == good


_PUBLISH = """
import sys, django
django.setup()
from tests.testapp.celery import app
from maintenance.core.runs.dispatch import publish
from maintenance.models import Run
app.set_default()
assert publish(Run.objects.get(id=sys.argv[1]))
"""


def publish_elsewhere(run: Run, environment: dict[str, str]) -> None:
    """Send a run's message from a process of its own: the serializer is one of the whole process."""
    subprocess.run(
        [sys.executable, "-c", _PUBLISH, str(run.id)], cwd=ROOT, env=environment, check=True
    )


def test_where_messages_are_signed_no_other_is_taken(
    make_worker: WorkerFactory,
    celery_setup_app: Celery,
    testapp_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    ours, theirs = (sign_by(tmp_path, name, trusted) for name in ("ours", "theirs"))
    (trusted / "ours.pem").write_bytes((tmp_path / "ours.pem").read_bytes())
    testapp_environment.update(ours)
    worker = make_worker("high")
    unsigned, forged, signed = (
        record_run(task_named("note_high"), "", {"number": number}, BY_HAND) for number in range(3)
    )
    environment = {"PATH": "/usr/bin:/bin", **testapp_environment}

    send(celery_setup_app, message(target="", options={"number": 0}), task_id=str(unsigned.id))
    publish_elsewhere(forged, environment | theirs)
    publish_elsewhere(signed, environment)

    eventually(lambda: state_of(signed) == RunState.SUCCEEDED, 60, "the signed message is taken")
    assert state_of(unsigned) == RunState.QUEUED
    assert state_of(forged) == RunState.QUEUED
    log = worker.logs()
    assert "untrusted content of type json" in log or "disallowed" in log.lower()
    assert "Unable to deserialize" in log or "Unknown certificate" in log


def test_what_is_no_message_among_those_that_were_given_out_keeps_no_worker_from_starting(
    make_worker: WorkerFactory, celery_setup_app: Celery
) -> None:
    app = celery_setup_app
    whole = envelope(app)
    given_out = {
        "rubbish": "no json", "number": "5", "deep": "[" * 100_000, "short": "[1, 2]",
        "odd": json.dumps([5, [], {}]), "way": json.dumps([whole, {}, []]),
    }  # fmt: skip
    ours = {"ours": json.dumps([whole, "maintenance", "high"])}
    with app.connection_for_write() as connection, connection.channel() as channel:
        app.amqp.queues["high"](channel).declare()
        channel.client.hset("unacked", mapping=given_out | ours)
        channel.client.zadd("unacked_index", dict.fromkeys(given_out | ours, 1.0))

    worker = make_worker("high")
    good = start_run(task_named("note_high"), "", {"number": 7}, BY_HAND)

    eventually(lambda: state_of(good) == RunState.SUCCEEDED, 30, "the worker is at work")
    with app.connection_for_write() as connection, connection.channel() as channel:
        eventually(lambda: not channel.client.hlen("unacked"), 30, "nothing is given out")
    log = worker.logs()
    assert log.count("discarded: ") == len(given_out)
    assert f"A message for {NOTE} does nothing: it has no row in the ledger" in log
