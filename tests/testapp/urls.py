"""URLs of the embedding project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("maintenance/", include("maintenance.urls")),
]
