"""Covers that readers uploaded: one that is far too large, some that harm, and one that nobody shows."""

import io
import os
import random
import struct
import zlib
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg2

from service.sample_site.truth import Decoy, Fault, FaultKind

#: ``maintenance.toml`` beside this file asks the same for the names of files in use.
NAMES_IN_USE: Final = "SELECT cover FROM library_edition ORDER BY id LIMIT 8"
LARGE, BOMB, CUT_SHORT, SMALL = range(4)

#: Four times what a page shows, in each direction.
LARGE_PIXELS: Final = (1600, 2400)
SMALL_PIXELS: Final = (60, 90)
BOMB_PIXELS: Final = (60_000, 60_000)
#: Of JPEG: as a camera writes it, and so low that encoding it anew wins nothing.
LAVISH, SPARING = 95, 70

FORGOTTEN: Final = "covers/former-edition.jpg"
JUST_UPLOADED: Final = "covers/upload-of-today.jpg"
AGE_OF_THE_FORGOTTEN: Final = timedelta(days=40)


def names_in_use(database_url: str) -> list[str]:
    """Return the covers that the site shows, in the order of their editions."""
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(NAMES_IN_USE)
        return [str(name) for (name,) in cursor.fetchall()]


def write(folder: Path, names: Sequence[str], now: datetime, seed: int) -> None:
    """Write a file for each name, and two that no row names; same seed, same pictures."""
    choose = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    contents = {name: _jpeg(choose, SMALL_PIXELS, SPARING) for name in names}
    contents[names[LARGE]] = _jpeg(choose, LARGE_PIXELS, LAVISH)
    contents[names[BOMB]] = _png_of_one_byte(BOMB_PIXELS)
    whole = contents[names[CUT_SHORT]]
    contents[names[CUT_SHORT]] = whole[: len(whole) // 2]
    contents |= {name: _jpeg(choose, SMALL_PIXELS, SPARING) for name in (FORGOTTEN, JUST_UPLOADED)}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    long_ago = (now - AGE_OF_THE_FORGOTTEN).timestamp()
    os.utime(folder / FORGOTTEN, (long_ago, long_ago))


def _jpeg(choose: random.Random, size: tuple[int, int], quality: int) -> bytes:
    """Return a picture of coarse noise, which no encoder makes vanish."""
    from PIL import Image  # noqa: PLC0415 - only where a site is built

    coarse = Image.frombytes("RGB", (20, 30), choose.randbytes(20 * 30 * 3))
    written = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(written, format="JPEG", quality=quality)
    return written.getvalue()


def _png_of_one_byte(size: tuple[int, int]) -> bytes:
    """Return a PNG whose head claims ``size`` pixels, with hardly any content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def faults(names: Sequence[str]) -> tuple[Fault, ...]:
    """Return what is wrong with the files."""
    return (
        Fault(
            FaultKind.OVERSIZED_IMAGE,
            names[LARGE],
            "A cover as the camera took it.",
            expected={"width": LARGE_PIXELS[0], "height": LARGE_PIXELS[1]},
        ),
        Fault(
            FaultKind.HARMFUL_IMAGE,
            names[BOMB],
            "It is small, and takes 11 GB of memory to decode.",
            expected={"width": BOMB_PIXELS[0], "height": BOMB_PIXELS[1]},
        ),
        Fault(FaultKind.HARMFUL_IMAGE, names[CUT_SHORT], "Its upload was cut short."),
        Fault(FaultKind.ORPHANED_FILE, FORGOTTEN, "Its edition has another cover now."),
    )


def decoys(names: Sequence[str]) -> tuple[Decoy, ...]:
    """Return what only looks like a fault."""
    return (
        Decoy(FaultKind.OVERSIZED_IMAGE, names[SMALL], "It is as small as a page shows it."),
        Decoy(FaultKind.ORPHANED_FILE, JUST_UPLOADED, "Its row may come any moment."),
    )
