"""Fixtures: people of the admin with exactly the permissions that a test gives them."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

ClientFactory = Callable[..., Client]


@pytest.fixture
def client_with(db: None) -> ClientFactory:
    """Log in a member of staff: ``client_with("view_run", username="ann")``."""

    def log_in(*codenames: str, username: str = "ann") -> Client:
        user = User.objects.create_user(username, is_staff=True)
        wanted = Permission.objects.filter(codename__in=codenames)
        assert set(wanted.values_list("codename", flat=True)) == set(codenames)
        user.user_permissions.set(wanted)
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def operator(client_with: ClientFactory) -> Client:
    """Somebody who may do everything with runs and schedules, and is called ann."""
    return client_with(
        "view_run",
        "view_storedfinding",
        "view_schedulerow",
        "change_schedulerow",
        "change_periodictask",
        "run_reading_task",
        "run_writing_task",
        "cancel_run",
    )
