"""Models of the embedding project, with what a database does not enforce: see the integrity tests."""

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Author(models.Model):
    """Somebody whom books and notes refer to."""

    name = models.CharField(max_length=100, db_index=True)

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class Book(models.Model):
    """Refers to its author without a constraint, and to its translator with one."""

    title = models.CharField(max_length=200)
    author = models.ForeignKey(Author, models.DO_NOTHING, related_name="books", db_constraint=False)
    translator = models.ForeignKey(
        Author, models.SET_NULL, null=True, related_name="translations", db_index=False
    )

    class Meta:
        indexes = (models.Index(fields=["title"], name="testapp_book_title_idx"),)

    def __str__(self) -> str:
        """Return the title."""
        return self.title


class Note(models.Model):
    """Refers to a row of any model, by text, as keys of all types can be written."""

    text = models.TextField(blank=True)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=36)
    subject = GenericForeignKey("content_type", "object_id")

    def __str__(self) -> str:
        """Return the text."""
        return self.text
