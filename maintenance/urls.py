"""Pages beside the admin, for a project to include: ``path("maintenance/", include("maintenance.urls"))``."""

from django.urls import path

from maintenance.probes import scheduler_probe

app_name = "maintenance"

urlpatterns = [path("health/", scheduler_probe, name="health")]
