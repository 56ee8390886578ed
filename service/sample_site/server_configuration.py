"""How the site's programs are set up: files with planted faults, which no program ever reads."""

from pathlib import Path
from typing import Final

from service.sample_site.truth import Decoy, Fault, FaultKind

FOLDER: Final = Path(__file__).parent / "server_files"

#: By the variables that ``maintenance.toml`` beside this file names.
FILES: Final = {
    "SITE_NGINX_CONF": FOLDER / "nginx.conf",
    "SITE_GUNICORN_CONF": FOLDER / "gunicorn.conf.py",
    "SITE_CELERY_CONF": FOLDER / "celeryconfig.py",
}


def faults() -> tuple[Fault, ...]:
    """Return what the files do wrong; a subject is what a finding calls it."""
    return tuple(
        Fault(FaultKind.MISCONFIGURED_SERVER, subject, why)
        for subject, why in (
            ("library.example /media", "The alias ends in a slash and its location does not."),
            ("library.example /", "Pages are kept for people who are logged in, too."),
            ("max_requests_jitter", "Every worker of Gunicorn ends after the same 1000 requests."),
            ("visibility_timeout", "A task may take two hours, and is delivered again after one."),
        )
    )


def decoys() -> tuple[Decoy, ...]:
    """Return what is set up well, and looks like the faults beside it."""
    return (
        Decoy(
            FaultKind.MISCONFIGURED_SERVER,
            "library.example /static/",
            "An alias with a slash, of a location with one.",
        ),
    )
