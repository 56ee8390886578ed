"""Fixtures: a real Chromium on a live server, with a person who is logged in."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from django.conf import settings
from django.contrib.auth.models import User
from django.test.utils import override_settings
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

# Without these, Chromium speaks to its maker's servers, or wants a graphics card or a user account.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery staple"
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser of these tests; skips where it is not installed.

    It does not outlive them: Playwright's loop runs in this thread, and while it does, Django
    would refuse its database to every test unless told otherwise.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed")
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def strict_server(django_db_setup: None) -> Iterator[LiveServer]:
    """The embedding project behind the strict Content-Security-Policy of the service."""
    middleware = ["service.content_policy.ContentPolicy", *settings.MIDDLEWARE]
    with override_settings(MIDDLEWARE=middleware):
        server = LiveServer("localhost")
    yield server
    server.stop()


@pytest.fixture
def site(celery_setup_app: Celery, strict_server: LiveServer) -> str:
    """The address of the live server, with ann as its administrator."""
    User.objects.create_superuser("ann", "ann@example.org", PASSWORD)
    return strict_server.url


@pytest.fixture
def open_page(chromium: Browser, site: str) -> Iterator[OpenPage]:
    """Open a page of its own, logged in: ``open_page(width=390, scheme="dark")``.

    What the browser complains of (scripts, policy, missing files) fails the test at its end.
    """
    complaints: list[str] = []
    contexts = []

    def listen(message: ConsoleMessage) -> None:
        # The project has no icon, which no page of ours asks for.
        icon = message.location.get("url", "").endswith("/favicon.ico")
        if message.type in {"error", "warning"} and not icon:
            complaints.append(message.text)

    def opened(*, width: int = 1280, scheme: str = "light", log_in: bool = True) -> Page:
        context = chromium.new_context(
            base_url=site,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if log_in:
            sign_in(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def sign_in(page: Page) -> None:
    """Log in as ann through the form."""
    page.goto("/admin/login/?next=/admin/")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/admin/")


@pytest.fixture
def keep_picture(tmp_path: Path) -> Callable[[Page, str], None]:
    """Save a picture of a page, to be looked at: in the test's folder or in SCREENSHOTS."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        assert (folder / f"{name}.png").stat().st_size > 0

    return keep
