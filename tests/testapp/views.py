"""Pages of the embedding project: each asks its database in a way that a profile should name."""

from collections.abc import AsyncIterator, Iterator

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render

from tests.testapp.models import Author, Book, Note


def book_list(request: HttpRequest) -> HttpResponse:
    """The guide's example: a query for the books, and one more for each of them."""
    books = Book.objects.order_by("id")
    names = [book.author.name for book in books]
    return HttpResponse(", ".join(names))


async def book_list_async(request: HttpRequest) -> HttpResponse:
    """The same in an asynchronous view."""
    names = []
    async for book in Book.objects.order_by("id"):
        author = await Author.objects.aget(pk=book.author_id)
        names.append(author.name)
    return HttpResponse(", ".join(names))


def book_template(request: HttpRequest) -> HttpResponse:
    """The same in a template."""
    return render(request, "testapp/books.html", {"books": Book.objects.order_by("id")})


def author_list(request: HttpRequest) -> HttpResponse:
    """Follows a foreign key backwards, with and without a condition of its own."""
    for author in Author.objects.order_by("id"):
        list(author.books.all())
        list(author.books.filter(title__startswith="A"))
    return HttpResponse("authors")


def group_list(request: HttpRequest) -> HttpResponse:
    """Follows a many-to-many field."""
    for user in User.objects.order_by("id"):
        list(user.groups.all())
    return HttpResponse("groups")


def note_list(request: HttpRequest) -> HttpResponse:
    """Follows a generic foreign key, and reads a deferred field."""
    for note in Note.objects.defer("text"):
        assert note.subject is not None
        assert note.text == ""
    return HttpResponse("notes")


def bulk(request: HttpRequest) -> HttpResponse:
    """Saves in a loop, in nested transactions, and counts where it could ask for existence."""
    with transaction.atomic():
        for author in Author.objects.order_by("id"):
            with transaction.atomic():
                author.name = author.name.upper()
                author.save()
            if author.books.count() > 0:
                continue
    return HttpResponse("saved")


def broken(request: HttpRequest, number: int) -> HttpResponse:
    """Fails after its queries."""
    for book in Book.objects.order_by("id"):
        assert book.author.name
    raise RuntimeError(f"no shelf {number}")


def many(request: HttpRequest) -> HttpResponse:
    """Sends as many different statements as it is asked to, the values written into the text."""
    with connection.cursor() as cursor:
        for number in range(int(request.GET["count"])):
            cursor.execute(f"SELECT 'secret-{number}', {number} WHERE 'a%%' <> 'b'", [])
    return HttpResponse("many")


def long_statement(request: HttpRequest) -> HttpResponse:
    """Sends one very long statement, again and again."""
    text = f"SELECT 1 WHERE 1 IN ({', '.join(str(n) for n in range(50_000))})"
    with connection.cursor() as cursor:
        for _ in range(6):
            cursor.execute(text)
    return HttpResponse("long")


def _parts() -> Iterator[bytes]:
    for book in Book.objects.order_by("id"):
        yield book.author.name.encode()


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Asks its database while the response goes out."""
    return StreamingHttpResponse(_parts())


async def _parts_later() -> AsyncIterator[bytes]:
    async for book in Book.objects.order_by("id"):
        author = await Author.objects.aget(pk=book.author_id)
        yield author.name.encode()


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    """The same in an asynchronous view."""
    return StreamingHttpResponse(_parts_later())
