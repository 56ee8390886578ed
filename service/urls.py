"""URLs of the service: the admin, and a probe, which is open and says "ok" or "failing"."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponseRedirect
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

admin.site.site_header = "Maintenance"
admin.site.site_title = "Maintenance"
admin.site.index_title = "Crew, runs and reports"
admin.site.index_template = "service/admin_index.html"


def icon(_request: HttpRequest) -> HttpResponseRedirect:
    """Answer what every browser asks for by itself."""
    return HttpResponseRedirect(static("maintenance/icon.svg"))


urlpatterns = [
    # The dashboard: whether all is well is what whoever comes here wants to know.
    path("", RedirectView.as_view(pattern_name="admin:app_list"), {"app_label": "maintenance"}),
    path("favicon.ico", icon),
    path("admin/", admin.site.urls),
    path("", include("maintenance.urls")),
]
