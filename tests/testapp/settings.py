"""Settings of the embedding project. Servers come from the environment or from test fixtures."""

import os
import tempfile

import celeryconfig

SECRET_KEY = "tests only"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
USE_TZ = True
ROOT_URLCONF = "tests.testapp.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "maintenance",
    "tests.testapp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
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
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
STATIC_URL = "static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "maintenance": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": os.environ.get("TESTAPP_REPORTS", tempfile.gettempdir() + "/testapp"),
        },
    },
}

# Celery as the project has it; what it lacks is copied from the product's own celeryconfig.
CELERY_BROKER_URL = os.environ.get("TESTAPP_REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_BROKER_TRANSPORT_OPTIONS = celeryconfig.broker_transport_options
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = celeryconfig.result_backend_transport_options
CELERY_TASK_QUEUES = celeryconfig.task_queues
CELERY_TASK_DEFAULT_QUEUE = "medium"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_RETRY_ON_WORKER_LOST = True
CELERY_TASK_TRACK_STARTED = True
CELERY_WORKER_CONSUMER = celeryconfig.worker_consumer
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_ACCEPT_CONTENT = celeryconfig.accept_content
CELERY_TASK_SERIALIZER = celeryconfig.task_serializer
CELERY_RESULT_SERIALIZER = celeryconfig.result_serializer
CELERY_RESULT_ACCEPT_CONTENT = celeryconfig.result_accept_content
CELERY_SECURITY_KEY = celeryconfig.security_key
CELERY_SECURITY_CERTIFICATE = celeryconfig.security_certificate
CELERY_SECURITY_CERT_STORE = celeryconfig.security_cert_store
CELERY_BEAT_SCHEDULER = "maintenance.core.scheduling.scheduler:LedgerScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_IGNORE_RESULT = True

MAINTENANCE = {
    "recorded_runs_only": bool(os.environ.get("TESTAPP_RECORDED_RUNS_ONLY")),
    "databases": {
        "default": {
            "alias": "default",
            "allow": os.environ.get("TESTAPP_ALLOW", "").split(),
        }
    },
    "redis": {"main": {"url": "env:TESTAPP_REDIS_URL", "role": "streams"}},
    "streams": {"home": {"redis": "main", "pattern": "*-home", "max_length": 10}},
    "tracing": "TESTAPP_SPANS" in os.environ,
}
# A test that wants mail runs a server for it, and says where.
if os.environ.get("TESTAPP_MAIL_PORT"):
    EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["TESTAPP_MAIL_PORT"])
    MAINTENANCE["notifications"] = {
        "recipients": ["ops@example.org"],
        "sender": "crew@example.org",
        "base_url": "https://ops.example.org",
    }
