"""Which static files a page asks for. Pure."""

import gzip
import zlib
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import urldefrag, urljoin, urlsplit

#: Attributes that name a file, by tag (HTML standard).
_ATTRIBUTES = {"link": "href", "script": "src", "img": "src", "source": "src", "video": "poster"}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = _ATTRIBUTES.get(tag)
        self.found += [value for name, value in attrs if name == wanted and value]


def static_links(page: bytes, page_url: str, static_url: str) -> list[str]:
    """Return the absolute URLs below ``static_url`` that a page names, each once, in its order."""
    parser = _Links()
    parser.feed(page.decode(errors="replace"))
    root = urljoin(page_url, static_url)
    urls = (urldefrag(_joined(page_url, link)).url for link in parser.found)
    return list(dict.fromkeys(url for url in urls if url.startswith(root) and url != root))


def _joined(page_url: str, link: str) -> str:
    try:
        return urljoin(page_url, link)
    except ValueError:  # "http://[": no address at all
        return ""


def readable(body: bytes, encoding: str) -> bytes:
    """Return a body without its gzip; as it is where that is cut off or it is encoded otherwise."""
    if encoding.strip().lower() != "gzip":
        return body
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(body, 4 * 1024**2)
    except (zlib.error, gzip.BadGzipFile):
        return body


def one_of_each_kind(urls: Iterable[str], limit: int) -> list[str]:
    """Return at most ``limit`` URLs, of every ending in turn, so that no kind is left out."""
    by_kind: dict[str, list[str]] = {}
    for url in urls:
        kind = PurePosixPath(urlsplit(url).path).suffix.lower()
        by_kind.setdefault(kind, []).append(url)
    chosen: list[str] = []
    while by_kind and len(chosen) < limit:
        for kind in list(by_kind):
            chosen.append(by_kind[kind].pop(0))
            if not by_kind[kind]:
                del by_kind[kind]
    return chosen[:limit]
