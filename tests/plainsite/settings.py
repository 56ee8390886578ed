"""Settings of the plain site: its own queue, our app for the ledger, no task of ours."""

import os

SECRET_KEY = "tests only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_celery_beat",
    "maintenance",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("TESTAPP_DB_NAME", "testapp"),
        "USER": os.environ.get("TESTAPP_DB_USER", "postgres"),
        "PASSWORD": os.environ.get("TESTAPP_DB_PASSWORD", ""),
        "HOST": os.environ.get("TESTAPP_DB_HOST", "127.0.0.1"),
        "PORT": os.environ.get("TESTAPP_DB_PORT", "5432"),
    }
}
MAINTENANCE: dict[str, object] = {}

CELERY_BROKER_URL = os.environ.get("TESTAPP_REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_TASK_DEFAULT_QUEUE = "plain"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None
CELERY_BEAT_SCHEDULER = "maintenance.core.scheduling.scheduler:LedgerScheduler"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
