"""Flower, where messages are signed: it asks workers and gives them commands, as it does without."""

import json
import uuid
from pathlib import Path

import pytest

from service.embedded.ports import free_port
from tests import flower_pages
from tests.celery_nodes import WorkerFactory
from tests.local_containers import LocalRedis
from tests.polling import eventually
from tests.signing_keys import sign_by

pytestmark = pytest.mark.django_db(transaction=True)


def test_flower_asks_and_commands_workers_that_take_signed_messages_alone(
    make_worker: WorkerFactory,
    testapp_environment: dict[str, str],
    default_redis_broker: LocalRedis,
    tmp_path: Path,
) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    signing = sign_by(tmp_path, "ours", trusted)
    (trusted / "ours.pem").write_bytes((tmp_path / "ours.pem").read_bytes())
    testapp_environment.update(signing)
    worker = make_worker("high")
    run, port = uuid.uuid4(), free_port()

    with flower_pages.flower(
        tmp_path, port, REDIS_URL=default_redis_broker.url, **signing
    ) as process:
        eventually(lambda: flower_pages.answers(process, port), 60, "Flower answers")
        status, _, asked = flower_pages.ask(port, "/api/workers?refresh=1", flower_pages.LOGIN)
        assert status == 200
        assert [told["stats"]["pid"] > 0 for told in json.loads(asked).values()] == [True], asked
        path = f"/api/task/revoke/{run}"
        status, _, said = flower_pages.ask(port, path, flower_pages.LOGIN, "POST")
        assert status == 200, said
        flagged = f"Tasks flagged as revoked: {run}"
        eventually(lambda: flagged in worker.logs(), 30, "the worker has the command")
