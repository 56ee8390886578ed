"""Pages beside the admin, for a project to include: ``path("maintenance/", include("maintenance.urls"))``.

The probe is open. Health checks, metrics and API are not there (404) until ``access`` of the configuration has tokens.
"""

from django.urls import path

from maintenance.machines.api import findings_view, openapi_view, report_view, run_view, runs_view
from maintenance.machines.health import health_view
from maintenance.machines.metrics import metrics_view
from maintenance.probes import scheduler_probe

app_name = "maintenance"

urlpatterns = [
    path("health/", scheduler_probe, name="health"),
    path("health/checks/", health_view, name="health-checks"),
    path("health/checks/<str:name>/", health_view, name="health-check"),
    path("metrics", metrics_view, name="metrics"),
    path("api/v1/runs/", runs_view, name="api-runs"),
    path("api/v1/runs/<uuid:run_id>/", run_view, name="api-run"),
    path("api/v1/runs/<uuid:run_id>/report/", report_view, name="api-report"),
    path("api/v1/findings/", findings_view, name="api-findings"),
    path("api/v1/openapi.json", openapi_view, name="api-openapi"),
]
