"""What a deployment's own programs are told, and how many connections they may open."""

from dataclasses import dataclass
from typing import Any

from maintenance.conf import DatabaseTarget, DeploymentTarget
from maintenance.conf.deployments import OWN
from maintenance.core.machine import MachineFacts, this_machine
from maintenance.queues.worker_settings import (
    WorkerSettings,
    read_worker_settings,
    worker_settings,
)
from maintenance.web.server_configuration.gunicorn_settings import (
    GunicornSettings,
    read_gunicorn,
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Gunicorn and Celery as they were told; ``None`` for what the deployment does not name."""

    gunicorn: GunicornSettings | None = None
    celery: WorkerSettings | None = None


def machine_of(deployment: DeploymentTarget | None) -> MachineFacts:
    """Return the machine of a deployment's programs: as configured, completed by this one."""
    here = this_machine()
    if deployment is None or (deployment.memory_bytes is None and deployment.cpu_count is None):
        return here
    return MachineFacts(
        deployment.memory_bytes or here.memory_bytes,
        deployment.cpu_count or here.cpu_count,
        "the configuration",
    )


def gunicorn_of(deployment: DeploymentTarget, machine: MachineFacts) -> GunicornSettings:
    """Read Gunicorn's settings. Raises what :func:`read_gunicorn` raises."""
    return read_gunicorn(
        deployment.file("gunicorn"), deployment.gunicorn_process, machine.cpu_count
    )


def celery_of(deployment: DeploymentTarget, machine: MachineFacts) -> WorkerSettings:
    """Read Celery's settings. Raises what :func:`read_worker_settings` raises."""
    if deployment.celery == OWN:
        from celery import current_app  # noqa: PLC0415 - only where this project is the site

        conf = current_app.conf
        names = ("worker_concurrency", "worker_pool", "worker_prefetch_multiplier", "worker_max_tasks_per_child",
                 "worker_max_memory_per_child", "task_acks_late", "task_reject_on_worker_lost",
                 "task_time_limit", "task_soft_time_limit", "broker_transport_options", "broker_url")  # fmt: skip
        running = read_worker_settings("", deployment.celery_process, machine.cpu_count).workers
        values = {name: conf.get(name) for name in names}
        return worker_settings(values, {}, running, "this project's Celery")
    return read_worker_settings(
        deployment.file("celery"), deployment.celery_process, machine.cpu_count
    )


def demand_of(programs: Programs, cpu_count: int | None) -> int | None:
    """Return how many connections to a database the programs may open; ``None`` if unknown.

    A thread of Gunicorn and a process of Celery each hold one (Django documentation, "Persistent
    connections").
    """
    counts: list[int | None] = []
    if programs.gunicorn is not None:
        counts.append(programs.gunicorn.connections)
    if programs.celery is not None:
        counts.append(programs.celery.concurrency(cpu_count))
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def known_to_nginx(gunicorn: GunicornSettings | None) -> dict[str, Any]:
    """Return those settings of Gunicorn that Nginx before it must fit.

    Only sync workers end a request at ``timeout``.
    """
    if gunicorn is None:
        return {}
    kind = gunicorn.worker_class
    found = {"worker_class": kind, "threads": gunicorn.known.get("threads")}
    if kind != "sync":
        found["keepalive"] = gunicorn.known.get("keepalive")
    else:
        found["timeout"] = gunicorn.known.get("timeout")
    return {name: value for name, value in found.items() if value is not None}


def server_side_cursors(target: DatabaseTarget) -> bool | None:
    """Tell whether Django uses them on an alias; ``None`` for a database that is another site's."""
    if not target.alias:
        return None
    from django.conf import settings  # noqa: PLC0415 - the pure parts need no Django

    return not settings.DATABASES[target.alias].get("DISABLE_SERVER_SIDE_CURSORS", False)
