"""A line as a PNG file, for mail programs, which show no SVG. Pure, and without a library of drawing.

The format: PNG specification (third edition), 5 "Datastream structure"; a picture of eight bits a sample,
rows without a filter.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator

from maintenance.key_metrics.sparkline import Sparkline

#: Pixels a unit of the drawing: screens with two pixels in the place of one show it sharp.
SCALE = 2
#: Width of the line and radius of the dot at its end, in pixels.
LINE_PIXELS, DOT_PIXELS = 3.0, 4.5
_GROUND = (255, 255, 255)
_INK = (32, 80, 103)
_LIMIT = (176, 96, 0)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_Point = tuple[float, float]


def png_of(line: Sparkline) -> bytes:
    """Return the line as a file, on white: mail programs that darken a mail leave pictures alone."""
    width, height = round(line.width * SCALE), round(line.height * SCALE)
    pixels = bytearray(_GROUND * (width * height))
    if line.limit_y is not None:
        row = min(max(round(line.limit_y * SCALE), 0), height - 1)
        for column in range(0, width, 2):  # dotted: not by its colour alone
            _mix(pixels, width, (column, row), _LIMIT, 1.0)
    points = _points(line)
    coverage: dict[tuple[int, int], float] = {}
    for start, end in itertools.pairwise(points):
        _draw(coverage, (width, height), start, end, LINE_PIXELS / 2)
    _draw(coverage, (width, height), points[-1], points[-1], DOT_PIXELS)
    for place, share in coverage.items():
        _mix(pixels, width, place, _INK, share)
    return _file(width, height, bytes(pixels))


def _points(line: Sparkline) -> list[_Point]:
    pairs = (pair.split(",") for pair in line.points.split())
    return [(float(x) * SCALE, float(y) * SCALE) for x, y in pairs]


def _draw(
    coverage: dict[tuple[int, int], float],
    size: tuple[int, int],
    start: _Point,
    end: _Point,
    radius: float,
) -> None:
    """Note how much of each pixel near a piece of the line it covers."""
    for place in _near(size, start, end, radius + 1):
        share = radius + 0.5 - _distance((place[0] + 0.5, place[1] + 0.5), start, end)
        if share > 0:
            coverage[place] = max(coverage.get(place, 0.0), min(share, 1.0))


def _near(
    size: tuple[int, int], start: _Point, end: _Point, reach: float
) -> Iterator[tuple[int, int]]:
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    for row in range(max(int(top - reach), 0), min(int(bottom + reach) + 1, size[1])):
        for column in range(max(int(left - reach), 0), min(int(right + reach) + 1, size[0])):
            yield column, row


def _distance(point: _Point, start: _Point, end: _Point) -> float:
    """Return how far a point is from a piece of a line."""
    along = (end[0] - start[0], end[1] - start[1])
    length = along[0] ** 2 + along[1] ** 2
    share = 0.0
    if length > 0:
        dot = (point[0] - start[0]) * along[0] + (point[1] - start[1]) * along[1]
        share = min(max(dot / length, 0.0), 1.0)
    nearest = (start[0] + share * along[0], start[1] + share * along[1])
    across, down = point[0] - nearest[0], point[1] - nearest[1]
    return float((across**2 + down**2) ** 0.5)


def _mix(
    pixels: bytearray, width: int, place: tuple[int, int], ink: tuple[int, int, int], share: float
) -> None:
    offset = 3 * (place[1] * width + place[0])
    for channel in range(3):
        before = pixels[offset + channel]
        pixels[offset + channel] = round(before + (ink[channel] - before) * share)


def _file(width: int, height: int, pixels: bytes) -> bytes:
    stride = 3 * width
    rows = b"".join(
        b"\x00" + pixels[start : start + stride] for start in range(0, len(pixels), stride)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # eight bits, red green blue
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", head),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


#: From low to high, for text.
_BARS = "▁▂▃▄▅▆▇█"
#: Signs of a line of text.
_SIGNS = 20


def bars_of(line: Sparkline) -> str:
    """Return the line as a row of signs, of each stretch the last value."""
    points = [(x / SCALE, y / SCALE) for x, y in _points(line)]
    signs: dict[int, str] = {}
    for x, y in points:
        height = min(max(1 - y / line.height, 0.0), 1.0)
        signs[int(x / line.width * (_SIGNS - 1))] = _BARS[
            min(int(height * len(_BARS)), len(_BARS) - 1)
        ]
    return "".join(signs.get(place, " ") for place in range(_SIGNS)).strip()
