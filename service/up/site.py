"""The sample site under ``up``: built before the crew comes, its truth kept beside the data."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from maintenance.core.redaction import redact
from maintenance.models import StoredReport
from service.sample_site import (
    access_log,
    history,
    media,
    pages,
    performance_log,
    server_configuration,
    slots,
)
from service.sample_site.builder import build
from service.sample_site.errors import SampleSiteError
from service.sample_site.truth import Truth
from service.up.errors import UpRefused
from service.up.output import Output
from service.up.servers import Servers

TRUTH_FILE = "sample-site-truth.json"


def truth_path(state: Path) -> Path:
    """Return where the truth about the sample site of a state folder is written."""
    return state / TRUTH_FILE


def ensure_site(
    state: Path, servers: Servers, scale: float, output: Output, *, anew: bool
) -> Truth:
    """Return the truth about the site, building it first where there is none of this scale.

    ``anew`` builds in any case: a crew that has worked on a site has mended it, so that reports
    could not be compared with what was planted. Raises :class:`UpRefused` where the build fails.
    """
    path = truth_path(state)
    present = None if anew else _present(path)
    if present is not None and present.scale == scale:
        output.say(f"the sample site is there since {present.as_of} (scale {scale:g})")
        return present
    output.say(f"building the sample site (scale {scale:g})")
    # A build cut short leaves no truth behind, so the next start builds again.
    path.unlink(missing_ok=True)
    try:
        truth = build(
            servers.site_database_url,
            servers.site_redis_url,
            scale=scale,
            progress=_StepPrinter(output),
        )
    except SampleSiteError as error:
        raise UpRefused(f"The sample site cannot be built: {redact(str(error))}") from None
    day = date.fromisoformat(truth.as_of)
    access_log.write(servers.site_access_log, day, truth.seed)
    now = datetime.now(UTC)
    forget_what_was_read()
    history.plant(now, truth.seed)
    slots.plant(now)
    performance_log.write(servers.site_performance_log, now, truth.seed)
    covers = media.names_in_use(servers.site_database_url)
    media.write(servers.site_media, covers, now, truth.seed)
    truth = replace(
        truth,
        faults=(
            *truth.faults,
            *access_log.faults(day),
            *server_configuration.faults(),
            *history.faults(),
            *slots.faults(),
            *pages.faults(),
            *performance_log.faults(),
            *media.faults(covers),
        ),
        decoys=(
            *truth.decoys,
            *access_log.decoys(),
            *server_configuration.decoys(),
            *history.decoys(),
            *slots.decoys(),
            *pages.decoys(),
            *performance_log.decoys(),
            *media.decoys(covers),
        ),
    )
    truth.write(path)
    output.say(f"the sample site is built; {len(truth.faults)} planted faults are listed in {path}")
    return truth


def forget_what_was_read() -> None:
    """Let tasks that go on where their last run ended begin anew: what they read was of a site that is gone."""
    StoredReport.objects.exclude(state={}).update(state={})


def _present(path: Path) -> Truth | None:
    try:
        return Truth.read(path)
    except (OSError, ValueError, KeyError, SampleSiteError):
        return None  # missing, cut short or of another release: it is built again


class _StepPrinter:
    """Says each step of the build once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:  # noqa: ARG002 - the build's signature
        if step != self._step:
            self._step = step
            self._output.say(f"sample site: {step}")
