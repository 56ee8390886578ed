"""Settings of gunicorn, lower case; ``--bind`` comes from the command line."""

import os
import signal as signals
import sys
import tempfile

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from maintenance.core.frozen_heap import freeze_heap
from service.embedded.leash import ask_for_signal_on_parent_death

workers = 1
threads = 4
worker_class = "gthread"
# The worker shares the code that the master has loaded.
preload_app = True
# Requests under way get this long at the end; an admin page takes far less.
graceful_timeout = 5
timeout = 60
keepalive = 5
# The heartbeat file is written all the time: never on a slow disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()  # noqa: PTH112, S108
# Nobody controls this server but `up`, and the socket would lie in the user's home.
control_socket_disable = True
loglevel = "warning"


def pre_fork(server: Arbiter, worker: Worker) -> None:  # noqa: ARG001 - gunicorn's signature
    """Keep the garbage collector from copying, in the worker, what it shares with the master."""
    freeze_heap()


def post_fork(server: Arbiter, worker: Worker) -> None:  # noqa: ARG001 - gunicorn's signature
    """Let no worker outlive a killed master, which would keep the port."""
    if sys.platform == "linux":
        ask_for_signal_on_parent_death(signals.SIGKILL)
