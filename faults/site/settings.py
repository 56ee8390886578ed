"""Settings of the site under fire. All addresses come from the environment: see :mod:`faults.stack`."""

import os

import celeryconfig

SECRET_KEY = "faults only"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "faults.site",  # first: it scales the times before anything else reads them
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_celery_beat",
    "maintenance",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "ledger",
        "USER": "postgres",
        "PASSWORD": os.environ.get("FAULTS_PASSWORD", ""),
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("FAULTS_POSTGRES_PORT", ""),
        # As the service has it: connections are kept, and looked at before they are used again.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # One that is cut without a word is noticed within the (scaled) lease.
        "OPTIONS": {"connect_timeout": 2, "tcp_user_timeout": 3000, "application_name": "ledger"},
    }
}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
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
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "maintenance": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": os.environ.get("FAULTS_REPORTS", "")},
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"maintenance": {"level": "INFO"}, "celery.beat": {"level": "INFO"}},
}

MAINTENANCE = {
    "databases": {
        name: {"url": "env:FAULTS_TARGET_URL"}
        for name in ("library", "archive", "museum", "gallery", "theatre")
    },
    "reports": {"retention_days": 1 if os.environ.get("FAULTS_DAY_SECONDS") else 400},
    "redis": {"main": {"url": "env:FAULTS_STREAMS_URL", "role": "streams"}},
    "streams": {
        "home": {"redis": "main", "pattern": "home:*", "max_length": 10, "keys_per_batch": 50}
    },
}

CELERY = {
    name: getattr(celeryconfig, name)
    for name in dir(celeryconfig)
    if name.islower() and name[0] != "_"
}
del CELERY["os"]
CELERY["broker_url"] = os.environ.get("FAULTS_BROKER_URL", "")
CELERY["result_backend"] = os.environ.get("FAULTS_RESULTS_URL", "")
CELERY["broker_transport_options"] = {
    **celeryconfig.broker_transport_options,
    "visibility_timeout": int(os.environ.get("FAULTS_VISIBILITY_SECONDS", "14400")),
    "unacked_restore_interval": 1,
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
}
if os.environ.get("FAULTS_RECYCLES") == "no":
    CELERY["worker_max_tasks_per_child"] = None
CELERY["beat_max_loop_interval"] = 0.25
CELERY["beat_scheduler"] = os.environ.get("FAULTS_SCHEDULER", celeryconfig.beat_scheduler)
CELERY["broker_connection_retry_on_startup"] = True
