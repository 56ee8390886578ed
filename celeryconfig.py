"""Celery settings of the service, lower case, with the reason for each.

Load them with ``app.config_from_object("celeryconfig")``; a project that embeds the app copies
what it does not have. Numbers were measured on Celery 5.7 with a Redis broker.
"""

import os
import ssl
from urllib.parse import parse_qsl, urlsplit

from kombu import Exchange, Queue

# --- Broker ------------------------------------------------------------------------------------
# Redis or Valkey, also by sentinels (sentinel://...;sentinel://...) and RabbitMQ (amqp://): see
# docs/scale_out.md.
broker_url = os.environ.get("CELERY_BROKER_URL") or os.environ.get("REDIS_URL", "")
_broker_is_rabbitmq = broker_url.startswith("amqp")

# Progress of running tasks, for Flower and other watchers; results and reports lie in the ledger.
# RabbitMQ keeps none: where there is no Redis beside it, there is no progress to watch.
result_backend = (os.environ.get("REDIS_URL") or None) if _broker_is_rabbitmq else broker_url
task_ignore_result = True


def _tls_of(url: str) -> dict[str, object] | None:
    """Return what Celery, kombu and Flower are told of TLS: what the address says behind its "?", and verified unless it says no.

    Of an address alone Celery's backend refuses one that says nothing of it, in the middle of each task; kombu verifies
    nothing then; and Flower reads no address.
    """
    if not url.startswith("rediss://"):
        return None
    said = {name: text for name, text in parse_qsl(urlsplit(url).query) if name.startswith("ssl_")}
    checks = said.get("ssl_cert_reqs", "required").upper().removeprefix("CERT_")
    options: dict[str, object] = {**said, "ssl_cert_reqs": ssl.VerifyMode[f"CERT_{checks}"]}
    if "ssl_check_hostname" in said:
        options["ssl_check_hostname"] = said["ssl_check_hostname"].lower() != "false"
    return options


broker_use_ssl = _tls_of(broker_url)
redis_backend_use_ssl = _tls_of(result_backend or "")

# A message not acknowledged in this time is delivered again. It is longer than the longest hard time
# limit (3 h and a minute), because an expiry in mid-run starts a second copy: 5 starts of one 35 s
# task were counted with 8 s. The ledger stops such copies all the same.
_HELD_SECONDS = 4 * 3600

# Who is asked for the primary by which name, and the sentinels' own password.
_sentinel_options = {
    "master_name": os.environ.get("CELERY_BROKER_SENTINEL_NAME") or "mymaster",
    "sentinel_kwargs": {"password": os.environ.get("CELERY_BROKER_SENTINEL_PASSWORD") or None},
}
_redis_options = {
    "visibility_timeout": _HELD_SECONDS,
    # Look for expired messages every 10 s; by default it takes about 100 s longer.
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # One worker on all three queues drains them in the order given to -Q; the default takes turns.
    "queue_order_strategy": "priority",
    # A dead connection is noticed instead of hanging for ever.
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    # Several products can share one server without seeing each other's queues.
    "global_keyprefix": "maintenance:",
    **(_sentinel_options if broker_url.startswith("sentinel") else {}),
}
# Without it RabbitMQ takes messages that it then cannot keep, and says nothing.
_rabbitmq_options = {"confirm_publish": True}
broker_transport_options = _rabbitmq_options if _broker_is_rabbitmq else _redis_options
result_backend_transport_options = {
    "global_keyprefix": "maintenance:",
    **(_sentinel_options if broker_url.startswith("sentinel") else {}),
    # Progress is for watching: when the backend is away, work goes on at once without it.
    "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
}

# Wait for a broker that starts later than we do, and for one that restarts, as long as it takes.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A connection that is lost while work goes on does not end the worker, and a signal ends it without an error.
worker_consumer = "maintenance.core.runs.patient_consumer:PatientConsumer"
# A broker that blinks must not kill long work: with a result backend on the same server,
# cancelling loses the task.
worker_cancel_long_running_tasks_on_connection_loss = False

# --- Queues ------------------------------------------------------------------------------------
# Durable by default in kombu: declared queues survive a broker restart.
_exchange = Exchange("maintenance", type="direct", durable=True)
# On RabbitMQ, quorum queues: a copy on most servers of the cluster before a message counts as taken.
# Its own limit to how long a worker may hold a message (30 min by default) is that of Redis here; a
# RabbitMQ before 3.12 has it as consumer_timeout in its configuration.
_queue_arguments = {"x-queue-type": "quorum", "x-consumer-timeout": _HELD_SECONDS * 1000}
task_queues = tuple(
    Queue(
        name,
        _exchange,
        routing_key=name,
        durable=True,
        queue_arguments=_queue_arguments if _broker_is_rabbitmq else None,
    )
    for name in ("high", "medium", "low")
)
task_default_queue = "medium"
task_default_exchange = "maintenance"
task_default_routing_key = "medium"
# Each maintenance task names its queue in its decorator; a queue that nobody consumes is a typo.
task_create_missing_queues = False

# --- Messages ----------------------------------------------------------------------------------
# Signed messages, where a key is named (SECURITY.md has how): Celery's own serializer, which signs JSON by
# an RSA key and takes nothing that no trusted certificate signed, commands to workers included.
security_key = os.environ.get("MAINTENANCE_SIGNING_KEY")
security_certificate = os.environ.get("MAINTENANCE_SIGNING_CERTIFICATE")
# A folder of certificates, or a pattern: of all who may send.
security_cert_store = os.environ.get("MAINTENANCE_SIGNING_TRUSTED")
# JSON only otherwise: a pickled message is code that runs in the worker.
task_serializer = "auth" if security_key else "json"
accept_content = ["auth"] if security_key else ["json"]
result_serializer = "json"
result_accept_content = ["json"]
# What is left of a finished task's progress goes away after an hour.
result_expires = 3600

# --- Delivery ----------------------------------------------------------------------------------
# Acknowledge after the work, so that a killed worker's message comes back.
task_acks_late = True
# A killed pool child gives its message back at most twice; reject_on_worker_lost loops for ever.
task_retry_on_worker_lost = True
# One message a process at a time, and none fetched ahead: a high task does not wait behind lows.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
# Tasks waiting for their retry are held by a worker; more than this stay in the broker.
worker_eta_task_limit = 100
# On SIGQUIT (to which up and the compose file map SIGTERM) running work gets this long to finish.
worker_soft_shutdown_timeout = 30
# A fresh process now and then caps what a leaking library can take.
worker_max_tasks_per_child = 200

# --- Watching ----------------------------------------------------------------------------------
task_track_started = True
task_send_sent_event = True
worker_send_task_events = True
# Logging is Django's (settings.LOGGING); Celery must not replace it.
worker_hijack_root_logger = False

# --- Beat --------------------------------------------------------------------------------------
beat_scheduler = "maintenance.core.scheduling.scheduler:LedgerScheduler"
# "inspect ping" reaches beat: a liveness probe.
beat_enable_remote_control = True

# --- Time --------------------------------------------------------------------------------------
# Each schedule row carries its own timezone; everything else is UTC.
timezone = "UTC"
enable_utc = True
