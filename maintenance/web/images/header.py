"""What the first bytes of an image say, read without decoding it. Pure.

Decoders allocate by these numbers, some as soon as they open a file: they are judged before any
decoder sees the file. Sources: ITU T.81 (JPEG) annex B, W3C PNG 3rd edition, RFC 9649 (WebP),
ISO/IEC 14496-12 and the AV1 codec ISO media file format binding (AVIF).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """The formats that are read and written, by Pillow's names."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    AVIF = "AVIF"


#: File name endings and what they promise.
FORMAT_OF_SUFFIX = {
    ".jpg": Format.JPEG,
    ".jpeg": Format.JPEG,
    ".jpe": Format.JPEG,
    ".jfif": Format.JPEG,
    ".png": Format.PNG,
    ".webp": Format.WEBP,
    ".avif": Format.AVIF,
}


class BadHeader(Exception):
    """The bytes are no image of a known format, or end in the middle of its header."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Facts of an image. ``bits`` is the depth of a channel; sizes are in pixels, before rotation.

    ``color_chunks`` are the PNG chunks that say what its numbers mean as colours. ``frames`` is
    whether it has several pictures (an animation, or JPEG's multi-picture format).
    """

    format: Format
    width: int
    height: int
    bits: int = 8
    channels: int = 3
    frames: bool = False
    lossless: bool = False
    progressive: bool = False
    color_chunks: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def read_header(data: bytes) -> ImageHeader:
    """Return what ``data``, a whole file, says of itself. Raises :class:`BadHeader`."""
    try:
        return _read(data)
    except (struct.error, IndexError):
        raise BadHeader("it ends in the middle of its header") from None


def _read(data: bytes) -> ImageHeader:
    if not data:
        raise BadHeader("it is empty")
    if data.startswith(b"\xff\xd8\xff"):
        header = _jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        header = _png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _webp(data)
    elif data[4:8] == b"ftyp" and {b"avif", b"avis"} & set(_brands(data)):
        header = _avif(data)
    else:
        raise BadHeader("its content is of no format that is optimized")
    if header.width < 1 or header.height < 1:
        raise BadHeader("it claims to have no pixels")
    return header


#: Start-of-frame markers (T.81, table B.1) and those of them that are progressive.
_FRAMES = {*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


def _jpeg(data: bytes) -> ImageHeader:
    found: list[ImageHeader] = []
    pictures = False
    for marker, body in _jpeg_segments(data):
        if marker in _FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", body)
            found.append(
                ImageHeader(
                    Format.JPEG, width, height, bits, channels, progressive=marker in _PROGRESSIVE
                )
            )
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            pictures = True
    if not found:
        raise BadHeader("it ends before its size is told")
    largest = max(found, key=lambda header: header.pixels)  # what a decoder may allocate
    return (
        largest
        if not pictures
        else ImageHeader(
            Format.JPEG, largest.width, largest.height, largest.bits, largest.channels, frames=True
        )
    )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment up to the first scan."""
    at = 2
    while True:
        while data[at] != 0xFF:  # decoders skip what stands between segments
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in {0xDA, 0xD9}:
            return
        if marker in _WITHOUT_LENGTH or marker == 0:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, data[at + 2 : at + length]
        at += max(length, 2)


#: PNG chunks that give the numbers their meaning as colours.
_COLOR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise BadHeader("it ends in the middle of its header")
    width, height, bits, color_type = struct.unpack_from(">IIBB", data, 16)
    frames = False
    colors: list[tuple[bytes, bytes]] = []
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind in {b"IDAT", b"IEND"}:
            break
        frames = frames or kind == b"acTL"
        if kind in _COLOR_CHUNKS:
            colors.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return ImageHeader(
        Format.PNG,
        width,
        height,
        bits,
        _PNG_CHANNELS.get(color_type, 0),
        frames=frames,
        lossless=True,
        color_chunks=tuple(colors),
    )


def _webp(data: bytes) -> ImageHeader:
    width = height = 0
    frames = lossless = False
    at = 12
    while at + 8 <= len(data):
        kind = data[at : at + 4]
        (length,) = struct.unpack_from("<I", data, at + 4)
        body = data[at + 8 : at + 18]
        if kind == b"VP8X":
            frames = bool(body[0] & 0x02)
            width = int.from_bytes(body[4:7], "little") + 1
            height = int.from_bytes(body[7:10], "little") + 1
        elif kind == b"VP8 ":
            wide, high = struct.unpack_from("<HH", body, 6)
            width, height = max(width, wide & 0x3FFF), max(height, high & 0x3FFF)
        elif kind == b"VP8L":
            (packed,) = struct.unpack_from("<I", body, 1)
            lossless = True
            width = max(width, (packed & 0x3FFF) + 1)
            height = max(height, (packed >> 14 & 0x3FFF) + 1)
        frames = frames or kind == b"ANIM"
        at += 8 + length + length % 2
    return ImageHeader(Format.WEBP, width, height, frames=frames, lossless=lossless)


def _brands(data: bytes) -> Iterator[bytes]:
    (length,) = struct.unpack_from(">I", data)
    for at in range(8, min(length, 256), 4):
        yield data[at : at + 4]


def _avif(data: bytes) -> ImageHeader:
    """Read the largest of the sizes and depths that the properties name; tiles and alpha have their own."""
    end = data.find(b"mdat", 4)
    meta = data[: end if end > 0 else len(data)]
    sizes = [
        struct.unpack_from(">II", meta, at + 8)
        for at in _positions(meta, b"ispe")  # after the name: version and flags
    ]
    if not sizes:
        raise BadHeader("it ends before its size is told")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    deep = [bool(meta[at + 6] & 0x40) for at in _positions(meta, b"av1C")]
    return ImageHeader(
        Format.AVIF,
        width,
        height,
        bits=10 if any(deep) else 8,
        frames=b"avis" in data[8:12],
    )


def _positions(data: bytes, name: bytes) -> Iterator[int]:
    at = data.find(name)
    while at >= 0:
        yield at
        at = data.find(name, at + 1)
