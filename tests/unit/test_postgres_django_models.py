"""What in a model an index comes from, told by its name and columns."""

import pytest

from maintenance.postgres.django_models import (
    Origin,
    declaration_of,
    fields_of,
    migrations_are_own,
)
from tests.testapp.models import Author, Book


@pytest.mark.parametrize(
    ("name", "columns", "origin", "fields"),
    [
        ("testapp_book_title_idx", ["title"], Origin.META, ("title",)),
        ("testapp_book_author_id_0a1b2c3d", ["author_id"], Origin.FIELD, ("author",)),
        # No index of Django's own making: its name has no digest, or its field no db_index.
        ("testapp_book_author_id_idx", ["author_id"], Origin.UNDECLARED, ()),
        ("testapp_book_translator_id_0a1b2c3d", ["translator_id"], Origin.UNDECLARED, ()),
        ("two_0a1b2c3d", ["author_id", "title"], Origin.UNDECLARED, ()),
        ("partial_or_expression_0a1b2c3d", [], Origin.UNDECLARED, ()),
        ("unknown_0a1b2c3d", ["no_such_column"], Origin.UNDECLARED, ()),
    ],
)
def test_an_index_of_books_comes_from(
    name: str, columns: list[str], origin: Origin, fields: tuple[str, ...]
) -> None:
    declaration = declaration_of(Book, name, columns)
    assert (declaration.origin, declaration.fields) == (origin, fields)


def test_both_indexes_of_a_text_field_are_told_apart() -> None:
    assert declaration_of(Author, "author_name_0a1b2c3d", ["name"]).origin is Origin.FIELD
    assert declaration_of(Author, "author_name_0a1b2c3d_like", ["name"]).origin is Origin.LIKE


def test_columns_have_fields_or_none() -> None:
    found = fields_of(Book, ["translator_id", "title"])
    assert found is not None
    assert [field.name for field in found] == ["translator", "title"]
    assert fields_of(Book, ["translator_id", "gone"]) is None


def test_migrations_of_a_package_are_not_the_projects_own() -> None:
    from django.contrib.auth.models import Permission

    assert migrations_are_own(Book)
    assert not migrations_are_own(Permission)
