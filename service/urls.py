"""URLs of the service: the admin, and a probe, which is open and says "ok" or "failing"."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.site.site_header = "Maintenance"
admin.site.site_title = "Maintenance"
admin.site.index_title = "Crew, runs and reports"
admin.site.index_template = "service/admin_index.html"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("maintenance.urls")),
]
