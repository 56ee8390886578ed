"""URLs of the embedding project."""

from django.contrib import admin
from django.urls import include, path

from tests.testapp import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("maintenance/", include("maintenance.urls")),
    path("books/", views.book_list),
    path("books/async/", views.book_list_async),
    path("books/template/", views.book_template),
    path("authors/", views.author_list),
    path("groups/", views.group_list),
    path("notes/", views.note_list),
    path("bulk/", views.bulk),
    path("broken/<int:number>/", views.broken),
    path("many/", views.many),
    path("long/", views.long_statement),
    path("stream/", views.stream),
    path("stream/async/", views.stream_async),
]
