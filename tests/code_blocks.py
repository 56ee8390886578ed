"""Code in the guides, as readers copy it."""

from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]


def code_blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield language ("" where none is said) and text of each block of a page of the repository."""
    for token in MarkdownIt().parse((ROOT / page).read_text()):
        if token.type in {"fence", "code_block"}:
            yield token.info, token.content


def blocks_of(page: str, language: str) -> list[str]:
    """Return the blocks of one language."""
    return [text for said, text in code_blocks(page) if said == language]
