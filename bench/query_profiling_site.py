"""A site whose page sends fifty queries, in a process of its own: ``python -m ... VARIANT``.

For each line on its input it answers the page some times and prints the processor and the wall
seconds of one request as JSON. VARIANT is ``ours`` (whose input says ``on`` or ``off``), ``silk`` or
``zeal``; the database is in DATABASE_URL.
"""

import json
import logging
import os
import sys
import tempfile
import time
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

REQUESTS = int(os.environ.get("QUERY_PROFILING_REQUESTS", "5"))
QUERIES = 50
APPS = {"ours": [], "silk": ["silk"], "zeal": ["zeal"]}
MIDDLEWARE = {
    "ours": "maintenance.web.query_profiler.QueryProfilingMiddleware",
    "silk": "silk.middleware.SilkyMiddleware",
    "zeal": "zeal.middleware.zeal_middleware",
}


def configure(variant: str) -> None:
    """Set Django up with the variant's middleware alone."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    settings.configure(
        SECRET_KEY="bench only",
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            *APPS[variant],
        ],
        MIDDLEWARE=[MIDDLEWARE[variant]],
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts.path[1:],
                "USER": unquote(parts.username or ""),
                "PASSWORD": unquote(parts.password or ""),
                "HOST": parts.hostname,
                "PORT": parts.port,
                "CONN_MAX_AGE": None,
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        ENABLE_QUERY_PROFILING=True,
        ZEAL_RAISE=False,
        ZEAL_SHOW_ALL_CALLERS=False,
    )
    django.setup()


def page(request: object) -> object:  # noqa: ARG001 - a view's signature
    """Ask ten different questions five times each: ORM objects, counts, relations."""
    from django.contrib.auth.models import Group, Permission, User  # noqa: PLC0415
    from django.http import HttpResponse  # noqa: PLC0415

    for number in range(1, 6):
        user = User.objects.get(pk=number)
        list(user.groups.all())
        Group.objects.filter(user=user).count()
        User.objects.filter(username=f"reader-{number}").exists()
        list(User.objects.order_by("-id")[:10])
        list(Permission.objects.filter(content_type_id=number)[:5])
        User.objects.filter(last_name="").first()
        Permission.objects.get(pk=number)
        list(User.objects.values_list("username", flat=True)[:20])
        Group.objects.get(pk=1)
    return HttpResponse("page")


def urlpatterns_of() -> list[object]:
    """Return the page's route."""
    from django.urls import path  # noqa: PLC0415

    return [path("", page)]  # type: ignore[arg-type]


def __getattr__(name: str) -> object:
    if name == "urlpatterns":
        return urlpatterns_of()
    raise AttributeError(name)


def fill() -> None:
    """Make the tables and some rows, whoever comes first."""
    from django.contrib.auth.models import Group, User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    if not User.objects.exists():
        group = Group.objects.create(name="readers")
        User.objects.bulk_create(User(username=f"reader-{n}") for n in range(100))
        for user in User.objects.all():
            user.groups.add(group)


def main(variant: str) -> None:
    """Answer one line of input by one line of output, until the input ends."""
    configure(variant)
    fill()
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from maintenance.web import performance_logging, profile  # noqa: PLC0415

    log = logging.FileHandler(tempfile.mkstemp(prefix="bench-performance-")[1])
    logging.getLogger("bookwyrm.middleware.query_profiler").addHandler(log)
    logging.getLogger("bookwyrm.middleware.query_profiler").setLevel(logging.INFO)
    logging.disable(logging.NOTSET)
    performance_logging.LINES_PER_MINUTE = 1_000_000  # every request writes its line
    watched, plain = Client(), Client()
    with django.test.override_settings(MIDDLEWARE=[]):
        plain.handler.load_middleware()
    watched.handler.load_middleware()
    for line in sys.stdin:
        client = plain if line.strip() == "off" else watched
        connection.execute_wrappers[:] = [profile._count] if line.strip() == "on" else []
        client.get("/")
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(REQUESTS):
            client.get("/")
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
        print(json.dumps([processor / REQUESTS, wall / REQUESTS]), flush=True)


if __name__ == "__main__":
    sys.modules["bench.query_profiling_site"] = sys.modules["__main__"]
    main(sys.argv[1])
