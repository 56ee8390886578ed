"""What every test can use; each subject keeps its fixtures in a module of its own."""

from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine alone: speed is for the benches.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = [
    "tests.servers",
    "tests.redis_servers",
    "tests.rabbitmq_server",
    "tests.django_database",
    "tests.admin_clients",
    "tests.celery_nodes",
    "tests.made_tasks",
    "tests.skips",
    "tests.alone",
    "tests.sql_files",
    "pytester",
]
