"""What every test can use; each subject keeps its fixtures in a module of its own."""

import signal

from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine alone: speed is for the benches.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process of theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.servers",
    "tests.redis_servers",
    "tests.rabbitmq_server",
    "tests.django_database",
    "tests.admin_clients",
    "tests.celery_nodes",
    "tests.embedding_project",
    "tests.made_tasks",
    "tests.soft_limits",
    "tests.skips",
    "tests.alone",
    "tests.sql_files",
    "pytester",
]
