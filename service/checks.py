"""System checks of the stand-alone service."""

import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks


@checks.register("service")
def check_state_folder(
    app_configs: Sequence[Any] | None,  # noqa: ARG001 - Django's signature
    **_kwargs: Any,
) -> list[checks.CheckMessage]:
    """Report a state folder that this user cannot write to; one that is not there yet is made by ``up``."""
    folder = settings.STATE_DIR
    if not folder.exists() or os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return []
    return [
        checks.Warning(
            f"The state folder {folder} cannot be written by this user.",
            hint="Give it to the user who runs this (chown), or name another one in MAINTENANCE_STATE.",
            id="service.W001",
        )
    ]
