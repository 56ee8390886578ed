"""One image made smaller: bytes in, bytes out. The only module that decodes and encodes.

Pillow is imported where it is used: it is an extra, and heavy. Nothing here touches a file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from maintenance.conf import MediaTarget
from maintenance.core.wording import percent
from maintenance.web.images.header import BadHeader, Format, ImageHeader, read_header
from maintenance.web.images.trailer import has_trailer

if TYPE_CHECKING:
    from PIL.Image import Image

#: EXIF tags (CIPA DC-008): which way is up, and where the position and the camera's details stand.
ORIENTATION_TAG = 0x0112
_GPS_IFD = 0x8825
_EXIF_IFD = 0x8769
#: CameraOwnerName, BodySerialNumber, LensSerialNumber.
_PERSONAL_TAGS = (0xA430, 0xA431, 0xA435)
#: From here on width and height change places.
_SIDEWAYS = 5


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of an image; see :class:`maintenance.conf.MediaTarget`."""

    maximum_width: int
    maximum_height: int
    quality: int
    minimum_saving_ratio: float
    maximum_pixels: int

    @classmethod
    def of(cls, target: MediaTarget) -> "Rules":
        """Return the rules of a target."""
        return cls(
            target.maximum_width,
            target.maximum_height,
            target.quality,
            target.minimum_saving_ratio,
            target.maximum_pixels,
        )


class Reason(StrEnum):
    """Why an image is left as it is. Those of :data:`FAULTS` are worth a person's look."""

    NO_GAIN = "saves too little"
    COARSE = "encoded at this quality or a lower one already"
    SEVERAL_PICTURES = "animated, or several pictures in one file"
    TRAILER = "holds something else behind the picture, such as a video"
    COLORS = "colours other than grey, RGB or a palette"
    DEEP = "more than 8 bits a channel"
    ORIENTATION = "EXIF data that cannot be read"
    OTHER_CONTENT = "content of another format than the name says"
    TOO_MANY_PIXELS = "too many pixels to decode"
    TOO_LARGE = "too large a file to read"
    DAMAGED = "damaged"
    LINKED = "has other hard links"
    CHANGED = "changed while it was at work"
    UNREADABLE = "cannot be read"
    UNWRITABLE = "cannot be written"


FAULTS = frozenset(
    {
        Reason.OTHER_CONTENT,
        Reason.TOO_MANY_PIXELS,
        Reason.TOO_LARGE,
        Reason.DAMAGED,
        Reason.UNREADABLE,
        Reason.UNWRITABLE,
    }
)

#: May be otherwise the next time: such a file is looked at again though it did not change.
PASSING = frozenset({Reason.CHANGED, Reason.LINKED, Reason.UNREADABLE, Reason.UNWRITABLE})


class LeftAlone(Exception):
    """This image stays as it is. ``detail`` may be empty; ``private`` is whether it tells a place
    or a camera's owner."""

    def __init__(self, reason: Reason, detail: str = "", *, private: bool = False) -> None:
        super().__init__(f"{reason}{f': {detail}' if detail else ''}")
        self.reason = reason
        self.detail = detail
        self.private = private


@dataclass(frozen=True, slots=True)
class Recoded:
    """The smaller image. ``private`` is whether it told a place or an owner, and does no more."""

    data: bytes = field(repr=False)
    width: int
    height: int
    private: bool


def recode(
    data: bytes,
    promised: Format,
    rules: Rules,
    admit: Callable[[int], None] = lambda pixels: None,  # noqa: ARG005
) -> Recoded:
    """Return a smaller image of the same format that looks the same.

    ``promised`` is the format that the file's name says. ``admit`` is called with the number of
    pixels before they are decoded, and may block until there is room. Raises :class:`LeftAlone`,
    whatever the bytes are.
    """
    header = _checked_header(data, promised, rules)
    admit(header.pixels)
    try:
        return _recode(data, header, rules)
    except LeftAlone:
        raise
    except MemoryError:
        raise LeftAlone(Reason.TOO_MANY_PIXELS, "not enough memory") from None
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything on damaged bytes
        raise LeftAlone(Reason.DAMAGED, _in_words(error)) from None


def _checked_header(data: bytes, promised: Format, rules: Rules) -> ImageHeader:
    """Judge by the header alone what no decoder should see."""
    try:
        header = read_header(data)
    except BadHeader as fault:
        raise LeftAlone(Reason.DAMAGED, str(fault)) from None
    if header.format is not promised:
        raise LeftAlone(Reason.OTHER_CONTENT, f"{header.format}, named {promised}")
    if header.pixels > rules.maximum_pixels:
        raise LeftAlone(
            Reason.TOO_MANY_PIXELS,
            f"{header.width:,} x {header.height:,} pixels; at most {rules.maximum_pixels:,} are decoded",
        )
    if header.frames:
        raise LeftAlone(Reason.SEVERAL_PICTURES)
    if has_trailer(data, header.format):
        raise LeftAlone(Reason.TRAILER)
    if header.bits > 8:
        raise LeftAlone(Reason.DEEP, f"{header.bits} bits")
    if header.format is Format.JPEG and header.channels not in {1, 3}:
        raise LeftAlone(Reason.COLORS, "CMYK")
    return header


def _recode(data: bytes, header: ImageHeader, rules: Rules) -> Recoded:
    from PIL import Image, ImageOps  # noqa: PLC0415 - an extra, and heavy

    with Image.open(BytesIO(data), formats=[header.format.value]) as image:
        if image.width * image.height > rules.maximum_pixels:
            raise LeftAlone(Reason.TOO_MANY_PIXELS, "more than its header says")
        if getattr(image, "n_frames", 1) > 1:
            raise LeftAlone(Reason.SEVERAL_PICTURES)
        if header.format is Format.PNG:
            image.load()  # its EXIF may stand behind the pixels
        orientation, private = _exif_facts(image)
        box = (rules.maximum_width, rules.maximum_height)
        if orientation >= _SIDEWAYS:
            box = box[::-1]
        shrinks = image.width > box[0] or image.height > box[1]
        if header.format is Format.JPEG and not shrinks and _is_coarse(image, rules.quality):
            image.load()  # a truncated file is told from a whole one by this alone
            raise LeftAlone(Reason.COARSE, private=private)
        parameters = _parameters(image, header, rules.quality)
        profile = image.info.get("icc_profile")
        work = _prepared(image, shrinks)
        if shrinks:
            work.thumbnail(box, Image.Resampling.LANCZOS)
        if orientation > 1:
            ImageOps.exif_transpose(work, in_place=True)
    transparency = work.info.get("transparency")
    # What is not handed over here, encoders would take from the image: comments, EXIF, XMP.
    work.info = {} if transparency is None else {"transparency": transparency}
    output = BytesIO()
    work.save(output, format=header.format.value, icc_profile=profile, **parameters)
    written = output.getvalue()
    saved_ratio = 1 - len(written) / len(data)
    if saved_ratio < max(rules.minimum_saving_ratio, 1 / len(data)):
        raise LeftAlone(Reason.NO_GAIN, _no_gain(saved_ratio), private=private)
    _require_whole(written, header.format, work.size)
    return Recoded(written, work.width, work.height, private)


def _no_gain(saved_ratio: float) -> str:
    return f"{percent(saved_ratio)} smaller" if saved_ratio > 0 else "it would grow"


def _exif_facts(image: "Image") -> tuple[int, bool]:
    """Return the orientation, 1 to 8, and whether a place or an owner is told."""
    try:
        exif = image.getexif()
        orientation = int(exif.get(ORIENTATION_TAG, 1))
        details = exif.get_ifd(_EXIF_IFD)
        private = bool(exif.get_ifd(_GPS_IFD)) or any(tag in details for tag in _PERSONAL_TAGS)
    except Exception as error:  # noqa: BLE001 - EXIF is written by anybody, in every state
        raise LeftAlone(Reason.ORIENTATION, _in_words(error)) from None
    xmp = image.info.get("xmp") or b""
    if isinstance(xmp, bytes):
        private = private or b"GPSLatitude" in xmp or b"SerialNumber" in xmp
    return (orientation if 1 <= orientation <= 8 else 1), private


def _prepared(image: "Image", shrinks: bool) -> "Image":
    """Return the image in a mode in which it can be made smaller, and written as what it was.

    Colours between two entries of a palette, or beside a transparent colour, do not exist:
    such images are resized in full colour.
    """
    if image.mode not in {"1", "L", "LA", "P", "RGB", "RGBA"}:
        raise LeftAlone(Reason.COLORS, image.mode)
    if not shrinks:
        image.load()
        return image.copy()
    if image.mode == "P" or "transparency" in image.info:
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        return image.convert("L")
    return image


def _parameters(image: "Image", header: ImageHeader, quality: int) -> dict[str, Any]:
    """Return what the encoder is told, so that the result is of the same kind as the original."""
    from PIL import JpegImagePlugin, PngImagePlugin  # noqa: PLC0415

    match header.format:
        case Format.JPEG:
            sampling = JpegImagePlugin.get_sampling(image)
            return {
                "quality": quality,
                "optimize": True,
                "progressive": header.progressive,
                # Coloured text keeps its edges only at the sampling that it came with.
                **({"subsampling": sampling} if sampling in {0, 1, 2} else {}),
            }
        case Format.PNG:
            chunks = PngImagePlugin.PngInfo()
            for kind, body in header.color_chunks:
                chunks.add(kind, body)
            return {"optimize": True, "pnginfo": chunks}
        case Format.WEBP:
            return {"quality": quality, "lossless": header.lossless, "exact": header.lossless}
        case Format.AVIF:
            return {"quality": quality, "max_threads": 1}  # several images are at work already


def _is_coarse(image: "Image", quality: int) -> bool:
    """Tell whether a JPEG's own quantization is as coarse as that of ``quality``, or coarser."""
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return 0 in tables and sum(tables[0]) >= _coarseness(quality)


@cache
def _coarseness(quality: int) -> int:
    """Return the sum of the luminance table that the encoder uses at ``quality``."""
    from PIL import Image  # noqa: PLC0415

    output = BytesIO()
    Image.new("L", (8, 8)).save(output, format="JPEG", quality=quality)
    with Image.open(output, formats=["JPEG"]) as image:
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        return sum(tables[0])


def _require_whole(written: bytes, expected: Format, size: tuple[int, int]) -> None:
    header = read_header(written)
    if header.format is not expected or (header.width, header.height) != size:
        raise LeftAlone(Reason.DAMAGED, "what the encoder wrote has another size than it was given")


def _in_words(error: Exception) -> str:
    return str(error).strip().rstrip(".")[:200] or type(error).__name__
