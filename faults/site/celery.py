"""The Celery application of the site under fire."""

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "faults.site.settings")

app = Celery("faults")
app.conf.update(settings.CELERY)  # type: ignore[misc]  # the plugin knows the service's
app.set_default()
