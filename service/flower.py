"""Flower's Celery application: the broker's settings alone. Django would take half its memory again.

The login is ``admin`` with the password in FLOWER_PASSWORD, or in the file that FLOWER_PASSWORD_FILE names.
"""

import os
from pathlib import Path

from celery import Celery

from maintenance.core.errors import ConfigurationError
from service.secret_files import adopt_secret_files
from service.signing import sign_messages

adopt_secret_files()
if not os.environ.get("FLOWER_BASIC_AUTH"):  # which Flower itself reads
    if not os.environ.get("FLOWER_PASSWORD"):
        raise ConfigurationError(
            "Flower does not start without a login: set FLOWER_PASSWORD_FILE or FLOWER_PASSWORD."
        )
    os.environ["FLOWER_BASIC_AUTH"] = f"admin:{os.environ['FLOWER_PASSWORD']}"

# By its path: a flowerconfig.py that Flower looks for in the folder of start may be missing there, unnoticed,
# and its pages would be open that the file closes.
os.environ.setdefault("FLOWER_CONF", str(Path(__file__).resolve().parents[1] / "flowerconfig.py"))

app = Celery("service")
app.config_from_object("celeryconfig")
sign_messages(app)
