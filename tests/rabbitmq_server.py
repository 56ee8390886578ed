"""A real RabbitMQ for tests, where one is installed."""

from collections.abc import Iterator

import pytest

from faults.rabbitmq import PROGRAM, RabbitMQ


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a RabbitMQ of the module's own."""
    if PROGRAM is None:
        pytest.skip("rabbitmq-server is not installed")
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
        yield server.url()
    finally:
        server.stop()
