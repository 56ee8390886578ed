"""Signed messages, where a key is named (SECURITY.md has how)."""

import os

from celery import Celery


def sign_messages(app: Celery) -> None:
    """Let an application sign what it sends, and take nothing that no trusted certificate signed.

    Every program that talks to the workers needs it, also one that only asks them (Flower): settings alone
    name a serializer that nobody has registered. Raises ``ImproperlyConfigured`` where a setting or the
    library is missing.
    """
    if os.environ.get("MAINTENANCE_SIGNING_KEY"):
        # Progress in the result backend stays JSON, which is then read from there alone.
        app.setup_security(allowed_serializers={"json"})
