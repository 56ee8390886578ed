"""Images of every format and kind, made for tests."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from tests.postgres_clients import ODD_NAME

SIZE = (320, 200)


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture with gradients, an edge, and a little noise, as photographs have."""
    wide, high = size
    across = Image.linear_gradient("L").resize(size)
    down = Image.radial_gradient("L").resize(size)
    noise = Image.blend(across.rotate(90).resize(size), Image.effect_noise(size, 24), 0.2)
    made = Image.merge("RGB", (across, down, noise))
    made.paste((200, 30, 30), (wide // 8, high // 8, wide // 2, high // 3))
    if mode in {"RGBA", "LA"}:
        made.putalpha(across)
    if mode == "P":
        return made.quantize(64)
    return made.convert(mode)


def encoded(image: Image.Image, format_name: str, **parameters: Any) -> bytes:
    """Return the image as bytes."""
    output = BytesIO()
    image.save(output, format=format_name, **parameters)
    return output.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return the image that ``data`` is."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def exif(orientation: int = 1, *, position: bool = False) -> Image.Exif:
    """Return EXIF with an orientation, and a position where asked for."""
    made = Image.Exif()
    made[0x0112] = orientation
    if position:
        made[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)}
    return made


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Return a PNG of a few bytes that claims, truly, to have very many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


#: A name that must come out right everywhere.
ODD_FILE = f"{ODD_NAME.replace('/', '')} 'q' \"Q\" %s {{x}} 🖼️.jpg"


def write(folder: Path, name: str, data: bytes) -> Path:
    """Write a file below ``folder``, an hour old."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    hour_ago = path.stat().st_mtime - 3600
    os.utime(path, (hour_ago, hour_ago))
    return path
