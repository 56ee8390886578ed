"""A worker told to end does so without an error, wherever it is."""

import pytest

from tests.celery_nodes import WorkerFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def test_told_to_end_in_the_middle_of_a_turn_it_ends_as_told(make_worker: WorkerFactory) -> None:
    worker = make_worker("medium", arguments=["-c", "1", "--include", "tests.signalled_turn"])
    eventually(lambda: worker.container.status == "exited", 30, "the worker has ended")
    printed = worker.logs()
    assert "The turn in which the worker was told to end was not completed" in printed
    assert "Traceback" not in printed
    assert "Cold shutdown" in printed
