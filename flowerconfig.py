"""Settings of Flower, which reads this file in its folder of start, with the reason for each.

Flower knows no Django here, and learns of tasks from the workers' events alone.
"""

import ast
import os
from typing import Any

from flower.urls import handlers
from flower.views.auth import LoginHandler, LogoutHandler
from flower.views.error import NotFoundErrorHandler
from flower.views.monitor import Healthcheck
from tornado.routing import URLSpec
from tornado.web import RequestHandler, StaticFileHandler, authenticated

#: Where the admin is, such as ``https://crew.example/admin/``: each task then names its run's page.
_ADMIN_URL = os.environ.get("MAINTENANCE_ADMIN_URL", "")

# The target stands in the arguments: without them all runs of a task look alike.
tasks_columns = "name,args,state,received,runtime,worker,uuid"
# The ledger has the history. With the default (100,000) Flower's memory grows for months, and each save of it
# holds up its pages.
max_tasks = 5000


#: What answers a stranger: a probe's "OK", the styles and scripts, the login and its end, and that there is
#: no such page. All else demands the login, also what a later Flower adds.
_OPEN = (Healthcheck, StaticFileHandler, LoginHandler, LogoutHandler, NotFoundErrorHandler)


def _demand_login() -> None:
    """Close what Flower leaves open (``/metrics`` in 2.2). Where it has other names, it does not start."""
    pages = {h.handler_class if isinstance(h, URLSpec) else h[1] for h in handlers}
    for page in pages.difference(_OPEN):
        for verb in ("get", "head", "post", "put", "patch", "delete"):
            answer = getattr(page, verb)
            if answer is not getattr(RequestHandler, verb):
                setattr(page, verb, authenticated(answer))


_demand_login()


def format_task(task: Any) -> Any:
    """Say what a task does and came to in words, and where its run is; Flower hands over a copy."""
    given = _value(task.kwargs)
    if isinstance(given, dict) and given.keys() == {"target", "options"}:
        options = [f"{name}: {value}" for name, value in (given["options"] or {}).items()]
        task.args = ", ".join(word for word in (given["target"], *options) if word)
    came_to = _value(task.result)
    if isinstance(came_to, dict) and "summary" in came_to:
        task.result = f"{came_to['state']}, {came_to['severity']}: {came_to['summary']}"
    if _ADMIN_URL and str(task.name).startswith("maintenance."):
        page = f"{_ADMIN_URL.rstrip('/')}/maintenance/run/{task.uuid}/change/"
        task.result = "\n".join(filter(None, (task.result, f"The run: {page}")))
    return task


def _value(text: Any) -> Any:
    """Read what an event has as Python's own notation; ``None`` for what is cut off or no value."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return None
