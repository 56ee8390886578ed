"""What stands behind the end of a picture in its file, such as the video of a motion photo. Pure.

Decoders pass it by, so that a picture that is written anew comes without it. Sources: ITU T.81 annex B, the PNG
specification section 5, Google's "WebP Container Specification".
"""

import re

from maintenance.web.images.header import Format

_EOI, _SOS = 0xD9, 0xDA
#: Markers without a segment behind them: TEM, RST0 to RST7, SOI.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
#: Behind the start of a scan the next marker that is neither a stuffed byte nor a restart.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_RIFF_HEADER_BYTES = 8
_PNG_SIGNATURE_BYTES = 8
#: Length, type and checksum of a chunk of PNG.
_CHUNK_BYTES = 12
#: What some programs fill up a file with, and nobody misses.
_PADDING = b"\x00\xff\r\n\t "


def has_trailer(data: bytes, of: Format) -> bool:
    """Tell whether anything but padding follows the end of the picture; not where that is not found.

    Cost grows with the file. AVIF has boxes up to its end, of which none is behind the picture.
    """
    end = _ENDS[of](data) if of in _ENDS else None
    return end is not None and bool(data[end:].strip(_PADDING))


def _end_of_jpeg(data: bytes) -> int | None:
    at = 2
    while at + 4 <= len(data) + 2 and data[at : at + 1] == b"\xff":
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker == _EOI:
            return at + 2
        if marker == 0xFF:
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == _SOS:
                found = _AFTER_SCAN.search(data, at)
                if found is None:
                    return None
                at = found.start()
    return None


def _end_of_png(data: bytes) -> int | None:
    at = _PNG_SIGNATURE_BYTES
    while at + _CHUNK_BYTES <= len(data):
        end = at + _CHUNK_BYTES + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IEND":
            return end
        at = end
    return None


def _end_of_webp(data: bytes) -> int | None:
    size = int.from_bytes(data[4:8], "little")
    return _RIFF_HEADER_BYTES + size + size % 2


_ENDS = {Format.JPEG: _end_of_jpeg, Format.PNG: _end_of_png, Format.WEBP: _end_of_webp}
