"""URLs of the service: the admin, and nothing that is open without a login."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

admin.site.site_header = "Maintenance"
admin.site.site_title = "Maintenance"
admin.site.index_title = "Crew, runs and reports"
admin.site.index_template = "service/admin_index.html"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
