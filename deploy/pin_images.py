"""Digests of images beside their tags (``make pin-images``): a tag can be moved, a digest cannot."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

_IMAGE = re.compile(
    r"^(?P<before>\s*image:\s+|FROM\s+)(?P<name>[\w./-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?",
    re.MULTILINE,
)
#: Built here, and in no registry.
OURS = "celery-maintenance"


def pinned(text: str, digest_of: Callable[[str], str]) -> str:
    """Return the file with ``name:tag@sha256:...`` for each image of others, anew where it had one."""

    def with_digest(found: re.Match[str]) -> str:
        name = found["name"]
        if name.startswith(OURS):
            return found[0]
        return f"{found['before']}{name}@{digest_of(name)}"

    return _IMAGE.sub(with_digest, text)


def ask_registry(name: str) -> str:
    """Return the digest behind a tag, of all its platforms. Raises ``CalledProcessError``."""
    command = ["docker", "buildx", "imagetools", "inspect", name]
    command += ["--format", "{{.Manifest.Digest}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def pin(paths: list[Path], digest_of: Callable[[str], str] = ask_registry) -> None:
    """Pin the images in all files, or in none where one cannot be asked for."""
    texts = {path: pinned(path.read_text(), digest_of) for path in paths}
    for path, text in texts.items():
        path.write_text(text)
