"""What ``collectstatic`` left in its folder: files, their compressed variants, the manifests."""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Types that text compression makes much smaller; images and WOFF fonts are compressed already.
COMPRESSIBLE = frozenset(
    {".css", ".js", ".mjs", ".svg", ".json", ".map", ".txt", ".xml", ".html", ".ttf", ".otf",
     ".eot", ".ico", ".wasm", ".webmanifest"}
)  # fmt: skip
#: Below, a file fits into one packet of the network, compressed or not.
SMALL_BYTES = 1400
#: Files that are looked at, and bytes that are read to be compared: with compressed variants, and with names.
MOST_FILES = 100_000
MOST_COMPARED_BYTES = 64 * 1024**2
#: Names in a list of a finding.
SHOWN = 20

_MANIFEST = "staticfiles.json"  # ManifestFilesMixin.manifest_name
_COMPRESSOR_MANIFEST = "CACHE/manifest.json"  # COMPRESS_OUTPUT_DIR / COMPRESS_OFFLINE_MANIFEST
#: Django names files by twelve digits of an MD5 (HashedFilesMixin.file_hash).
_HASHED = re.compile(r"\.([0-9a-f]{12})(?:\.[^./]+)?$")


@dataclass(slots=True)
class Variants:
    """Compressed copies beside files, by their ending: how many there are, and what is wrong."""

    suffix: str
    present: int = 0
    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A list of what pages refer to. ``fault`` says why it cannot be read.

    ``unread`` counts files of which nobody looked whether they were ``altered``: too many bytes.
    """

    path: str
    entries: int = 0
    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    older_than: str = ""
    fault: str = ""
    unread: int = 0


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """Facts of a folder. ``compressible`` maps names to sizes; ``manifest`` may not exist."""

    path: str
    files: int
    compressible: Mapping[str, int]
    variants: tuple[Variants, ...]
    manifest: Manifest | None = None
    compressor: Manifest | None = None
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_whole: bool = True


def measure_folder(path: str) -> StaticFolder:
    """Look at a folder. Raises ``OSError`` where it is not there or cannot be read.

    Costs a look at each of up to 100,000 files. Reads the manifests, at most 64 MB of files and their
    compressed variants, and at most 64 MB of files that the manifest names by their content.
    """
    root = Path(path)
    os.listdir(root)  # noqa: PTH208 - the error of this one is the caller's
    found: dict[str, os.stat_result] = {}
    is_whole = True
    for name, status in _files(root):
        if len(found) >= MOST_FILES:
            is_whole = False
            break
        found[name] = status
    compressible = {
        name: status.st_size
        for name, status in found.items()
        if Path(name).suffix.lower() in COMPRESSIBLE and status.st_size >= SMALL_BYTES
    }
    manifest, names = _read_manifest(root, found)
    return StaticFolder(
        path=path,
        files=len(found),
        compressible=compressible,
        variants=tuple(_variants(root, found, compressible)),
        manifest=manifest,
        compressor=_read_compressor(root, found),
        names=names,
        is_whole=is_whole,
    )


def _files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, folders, names in os.walk(root):  # links to folders are not followed
        folders.sort()
        for base in sorted(names):
            try:
                status = os.stat(os.path.join(folder, base))  # noqa: PTH116, PTH118 - many files
            except OSError:  # a link to nowhere, or gone
                continue
            yield os.path.relpath(os.path.join(folder, base), root), status  # noqa: PTH118


def _variants(
    root: Path, found: Mapping[str, os.stat_result], compressible: Mapping[str, int]
) -> Iterator[Variants]:
    for suffix in (".gz", ".br"):
        variants = Variants(suffix)
        budget = MOST_COMPARED_BYTES
        for name, size in compressible.items():
            copy = found.get(name + suffix)
            if copy is None:
                variants.missing.append(name)
                continue
            variants.present += 1
            if copy.st_mtime < found[name].st_mtime:
                variants.stale.append(name)
            elif suffix == ".gz" and size <= budget:
                budget -= size
                if not _unpacks_to(root / name, root / (name + suffix), size):
                    variants.stale.append(name)
        yield variants


def _unpacks_to(source: Path, packed: Path, size: int) -> bool:
    try:
        with gzip.open(packed) as opened:
            return opened.read(size + 1) == source.read_bytes()
    except (OSError, EOFError, zlib.error):
        return False


def _read_manifest(
    root: Path, found: Mapping[str, os.stat_result]
) -> tuple[Manifest | None, Mapping[str, str]]:
    """Read the manifest of Django's ManifestStaticFilesStorage, which WhiteNoise uses as well."""
    if _MANIFEST not in found:
        return None, {}
    body = _json(root / _MANIFEST)
    paths = body.get("paths") if isinstance(body, dict) else None
    if not isinstance(paths, dict):
        return Manifest(_MANIFEST, fault="it is no JSON object with paths"), {}
    names = {str(name): str(hashed) for name, hashed in paths.items()}
    missing = tuple(name for name, hashed in names.items() if hashed not in found)
    present = [hashed for hashed in names.values() if hashed in found]
    altered, unread = _altered(root, present, found)
    return Manifest(_MANIFEST, len(names), missing, altered, unread=unread), names


def _altered(
    root: Path, names: Iterable[str], found: Mapping[str, os.stat_result]
) -> tuple[tuple[str, ...], int]:
    """Return which files lost the content that their names were made from, and how many were not read.

    Small ones, the styles and scripts that tools rewrite in place, come before large ones.
    """
    budget, altered, unread = MOST_COMPARED_BYTES, [], 0
    for name in sorted(set(names), key=lambda name: (found[name].st_size, name)):
        digits = _HASHED.search(name)
        if digits is None:
            continue
        if found[name].st_size > budget:
            unread += 1
            continue
        budget -= found[name].st_size
        if not _has_hash(root / name, digits.group(1)):
            altered.append(name)
    return tuple(altered), unread


def _has_hash(path: Path, digits: str) -> bool:
    """Whether the hash of a file begins so, or nobody can tell."""
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False))
    except OSError:
        return True
    return digest.hexdigest().startswith(digits)


#: Addresses in the tags that django-compressor's manifest keeps.
_REFERENCE = re.compile(r"CACHE/[^\"'\\\s>]+")


def _read_compressor(root: Path, found: Mapping[str, os.stat_result]) -> Manifest | None:
    """Read the manifest of django-compressor's ``compress``, and what was changed since."""
    status = found.get(_COMPRESSOR_MANIFEST)
    if status is None:
        return None
    body = _json(root / _COMPRESSOR_MANIFEST)
    if not isinstance(body, dict):
        return Manifest(_COMPRESSOR_MANIFEST, fault="it is no JSON object")
    named = {name for html in body.values() for name in _REFERENCE.findall(str(html))}
    newer = [
        name
        for name, one in found.items()
        if name.endswith((".css", ".js"))
        and not name.startswith("CACHE/")
        and one.st_mtime > status.st_mtime
    ]
    return Manifest(
        _COMPRESSOR_MANIFEST,
        len(body),
        missing=tuple(sorted(name for name in named if name not in found)),
        older_than=newer[0] if newer else "",
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
