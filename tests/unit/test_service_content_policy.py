"""The policy that the service sends with its pages; that they work under it is a matter of tests/browser."""

from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import resolve

from service.content_policy import HEADER, POLICY, ContentPolicy
from tests.service_process import run_in_service


def answered(path: str, **headers: str) -> str:
    """Return the policy of an answer, which a view gives ``headers``."""

    def view(request: HttpRequest) -> HttpResponse:
        request.resolver_match = resolve(path)
        return HttpResponse(headers=headers)

    response = ContentPolicy(view)(RequestFactory().get(path))
    return str(response.headers[HEADER])


@pytest.mark.parametrize("path", ["/admin/", "/admin/maintenance/run/", "/maintenance/health/"])
def test_a_page_may_load_its_own_files_alone(path: str) -> None:
    assert answered(path) == POLICY
    assert "unsafe" not in POLICY


@pytest.mark.parametrize("page", ["add/", "1/change/"])
def test_the_form_of_beat_keeps_its_script_and_gets_nothing_else(page: str) -> None:
    path = f"/admin/django_celery_beat/periodictask/{page}"

    assert answered(path) == f"{POLICY}; script-src 'self' 'unsafe-inline'"
    assert answered("/admin/django_celery_beat/periodictask/") == POLICY


def test_an_answer_with_a_policy_keeps_it() -> None:
    assert answered("/admin/", **{HEADER: "sandbox"}) == "sandbox"


def test_the_service_sends_it(tmp_path: Path) -> None:
    program = (
        "import django; django.setup(); from django.test import Client;"
        f"print(Client().get('/favicon.ico', headers={{'host': 'localhost'}}).headers['{HEADER}'])"
    )
    done = run_in_service(program, tmp_path)

    assert done.stdout.strip() == POLICY


def test_the_root_leads_to_the_dashboard(tmp_path: Path) -> None:
    program = (
        "import django; django.setup(); from django.test import Client;"
        "print(Client().get('/', headers={'host': 'localhost'}).headers['Location'])"
    )
    assert run_in_service(program, tmp_path).stdout.strip() == "/admin/maintenance/"
