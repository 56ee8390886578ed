"""What becomes of one image: formats and modes, what is left alone, and hostile bytes."""

from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageStat
from PIL.JpegImagePlugin import get_sampling
from PIL.PngImagePlugin import PngInfo

from maintenance.conf import MediaTarget
from maintenance.web.images.header import BadHeader, Format, read_header
from maintenance.web.images.recode import LeftAlone, Reason, Recoded, Rules, recode
from maintenance.web.images.trailer import has_trailer
from tests.images import SIZE, encoded, exif, opened, picture, png_bomb

ROOMY = Rules.of(MediaTarget(path="/media", maximum_width=4000, maximum_height=4000))
#: Whatever the gain: what is written is what a test looks at.
EAGER = Rules(4000, 4000, quality=85, minimum_saving_ratio=0, maximum_pixels=50_000_000)
TIGHT = Rules(100, 100, quality=85, minimum_saving_ratio=0, maximum_pixels=50_000_000)


def left_alone(data: bytes, promised: Format = Format.JPEG, rules: Rules = ROOMY) -> LeftAlone:
    with pytest.raises(LeftAlone) as caught:
        recode(data, promised, rules)
    return caught.value


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of a channel, 0 to 255, of two images of one size."""
    a, b = one.convert("RGBA"), other.convert("RGBA")
    assert a.size == b.size
    return max(ImageStat.Stat(ImageChops.difference(a, b)).mean)


LOSSY = [
    (Format.JPEG, "RGB", {"quality": 98, "subsampling": 0}),
    (Format.JPEG, "L", {"quality": 98}),
    (Format.JPEG, "RGB", {"quality": 98, "progressive": True}),
    (Format.WEBP, "RGB", {"quality": 99}),
    (Format.WEBP, "RGBA", {"quality": 99}),
    (Format.AVIF, "RGB", {"quality": 98}),
    (Format.AVIF, "RGBA", {"quality": 98}),
]
LOSSLESS = [
    *((Format.PNG, mode, {"compress_level": 0}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    (Format.WEBP, "RGBA", {"lossless": True, "method": 0, "quality": 0, "exact": True}),
]


@pytest.mark.parametrize(("form", "mode", "how"), LOSSY)
def test_what_is_written_has_the_same_size_and_nearly_the_same_pixels(
    form: Format, mode: str, how: dict[str, int]
) -> None:
    original = encoded(picture(mode), form, **how)
    made = recode(original, form, EAGER)

    assert len(made.data) < len(original)
    written = opened(made.data)
    assert (written.format, written.size) == (form, SIZE)
    assert mean_difference(opened(original), written) < 6


@pytest.mark.parametrize(("form", "mode", "how"), LOSSLESS)
def test_what_was_lossless_stays_so(form: Format, mode: str, how: dict[str, int]) -> None:
    original = encoded(picture(mode), form, **how)
    made = recode(original, form, EAGER)

    assert len(made.data) < len(original)
    assert mean_difference(opened(original), opened(made.data)) == 0
    assert read_header(made.data).lossless


@pytest.mark.parametrize(("form", "mode", "how"), [*LOSSY, *LOSSLESS])
def test_a_large_image_is_made_to_fit_and_looks_as_before(
    form: Format, mode: str, how: dict[str, int]
) -> None:
    original = encoded(picture(mode), form, **how)
    made = recode(original, form, TIGHT)

    assert (made.width, made.height) == (100, 63)
    whole = opened(original).convert("RGBA").resize((100, 63), Image.Resampling.LANCZOS)
    assert mean_difference(whole, opened(made.data)) < 8


def test_a_colour_that_means_transparent_stays_so_and_does_not_bleed() -> None:
    plain = Image.new("RGB", SIZE, (255, 0, 255))
    plain.paste(picture(size=(160, 100)), (80, 50))
    original = encoded(plain, "PNG", transparency=(255, 0, 255), compress_level=0)

    same = opened(recode(original, Format.PNG, EAGER).data).convert("RGBA")
    small = opened(recode(original, Format.PNG, TIGHT).data).convert("RGBA")

    for image in (same, small):
        assert image.getpixel((1, 1))[3] == 0
        assert image.getpixel((image.width // 2, image.height // 2))[3] == 255


def test_the_way_up_is_applied_and_the_rest_of_exif_is_gone() -> None:
    for orientation in range(1, 9):
        original = encoded(
            picture(), "JPEG", quality=98, exif=exif(orientation, position=True), comment=b"me"
        )
        made = recode(original, Format.JPEG, EAGER)

        written = opened(made.data)
        assert made.private
        assert not written.getexif()
        assert "comment" not in written.info
        assert b"Exif\x00\x00" not in made.data
        upright = Image.open(BytesIO(original))
        turned = {
            1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90,
        }[orientation]  # fmt: skip
        expected = upright.transpose(turned) if turned is not None else upright
        assert mean_difference(expected, written) < 6


def test_an_image_on_its_side_is_fitted_as_it_is_seen() -> None:
    rules = Rules(100, 1000, 85, 0, 50_000_000)
    made = recode(encoded(picture(), "JPEG", exif=exif(6)), Format.JPEG, rules)
    assert (made.width, made.height) == (100, 160)


@pytest.mark.parametrize("form", list(Format))
def test_the_colour_profile_stays_and_private_metadata_goes(form: Format) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    how = {"compress_level": 0} if form is Format.PNG else {"quality": 98}
    original = encoded(
        picture(size=(600, 400)), form, icc_profile=profile, exif=exif(position=True),
        **({"xmp": b"<x:xmpmeta exif:GPSLatitude='52'/>"} if form is not Format.PNG else {}), **how,
    )  # fmt: skip
    made = recode(original, form, EAGER)

    written = opened(made.data)
    assert made.private
    assert written.info["icc_profile"] == profile
    assert not written.getexif()
    assert b"GPSLatitude" not in made.data


def test_chunks_that_say_what_colours_mean_stay() -> None:
    gamma = PngInfo()
    gamma.add(b"gAMA", (45455).to_bytes(4, "big"))
    gamma.add_text("Author", "somebody")
    original = encoded(picture(), "PNG", pnginfo=gamma, compress_level=0)
    written = opened(recode(original, Format.PNG, EAGER).data)
    assert written.info["gamma"] == 0.45455
    assert "Author" not in written.info


def test_the_kind_of_jpeg_stays() -> None:
    for how in ({"progressive": True, "subsampling": 0}, {"progressive": False, "subsampling": 2}):
        original = encoded(picture(), "JPEG", quality=98, **how)
        written = opened(recode(original, Format.JPEG, EAGER).data)
        assert bool(written.info.get("progressive")) is how["progressive"]
        assert get_sampling(Image.open(BytesIO(original))) == how["subsampling"]


def test_nothing_is_encoded_twice() -> None:
    once = recode(encoded(picture(), "JPEG", quality=98), Format.JPEG, ROOMY)
    again = left_alone(once.data)
    assert again.reason is Reason.COARSE


def test_a_small_gain_is_not_worth_a_loss() -> None:
    original = encoded(picture("RGBA"), "PNG", optimize=True)
    assert left_alone(original, Format.PNG).reason is Reason.NO_GAIN


def _animation(form: str) -> bytes:
    frames = [picture(size=(40, 30)), picture(size=(40, 30)).rotate(90)]
    output = BytesIO()
    frames[0].save(output, format=form, save_all=True, append_images=frames[1:])
    return output.getvalue()


@pytest.mark.parametrize(
    ("data", "form", "reason"),
    [
        (encoded(picture("CMYK"), "JPEG"), Format.JPEG, Reason.COLORS),
        (encoded(picture("L").convert("I;16"), "PNG"), Format.PNG, Reason.DEEP),
        (_animation("PNG"), Format.PNG, Reason.SEVERAL_PICTURES),
        (_animation("WEBP"), Format.WEBP, Reason.SEVERAL_PICTURES),
        (_animation("AVIF"), Format.AVIF, Reason.SEVERAL_PICTURES),
        (_animation("MPO"), Format.JPEG, Reason.SEVERAL_PICTURES),
        (encoded(picture(), "PNG"), Format.JPEG, Reason.OTHER_CONTENT),
        (encoded(picture(), "GIF"), Format.PNG, Reason.DAMAGED),
        (b"", Format.PNG, Reason.DAMAGED),
        (b"\xff\xd8\xff", Format.JPEG, Reason.DAMAGED),
        (png_bomb(), Format.PNG, Reason.TOO_MANY_PIXELS),
        (png_bomb(2**31 - 1, 2**31 - 1), Format.PNG, Reason.TOO_MANY_PIXELS),
        (png_bomb(0, 5), Format.PNG, Reason.DAMAGED),
    ],
)
def test_what_cannot_be_done_right_is_left_alone_with_the_reason(
    data: bytes, form: Format, reason: Reason
) -> None:
    assert left_alone(data, form).reason is reason


def test_sixteen_bits_of_colour_are_seen_though_the_decoder_hides_them() -> None:
    deep = bytearray(encoded(picture(), "PNG"))
    deep[24] = 16  # IHDR's depth
    assert left_alone(bytes(deep), Format.PNG).reason is Reason.DEEP


@pytest.mark.parametrize("form", list(Format))
def test_pixels_are_judged_before_anything_is_decoded(form: Format) -> None:
    strict = Rules(4000, 4000, 85, 0, maximum_pixels=SIZE[0] * SIZE[1] - 1)
    admitted: list[int] = []
    with pytest.raises(LeftAlone) as caught:
        recode(encoded(picture(), form), form, strict, admitted.append)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS
    assert admitted == []


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_named_and_never_written_anew(form: Format, share: float) -> None:
    whole = encoded(picture(), form)
    assert left_alone(whole[: int(len(whole) * share)], form, TIGHT).reason is Reason.DAMAGED


WHOLE = {form: encoded(picture(size=(64, 48)), form) for form in Format}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(form=st.sampled_from(list(Format)), data=st.data())
def test_no_bytes_whatever_are_more_than_left_alone(form: Format, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    rules = Rules(32, 32, 85, 0, maximum_pixels=1_000_000)
    try:
        made = recode(bytes(damaged), form, rules)
    except LeftAlone:
        return
    assert isinstance(made, Recoded)
    assert opened(made.data).format == form
    assert max(made.width, made.height) <= 32


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:30] for data in WHOLE.values())]))
def test_a_header_is_read_or_refused(rest: bytes, start: bytes) -> None:
    try:
        header = read_header(start + rest)
    except BadHeader:
        return
    assert header.pixels > 0


@settings(max_examples=25, deadline=None)
@given(
    form=st.sampled_from(list(Format)),
    wide=st.integers(1, 300),
    high=st.integers(1, 300),
    limit=st.integers(16, 200),
)
def test_the_shape_stays_and_fits(form: Format, wide: int, high: int, limit: int) -> None:
    original = encoded(picture(size=(wide, high)), form)
    rules = Rules(limit, limit, 85, 0, 1_000_000)
    try:
        made = recode(original, form, rules)
    except LeftAlone:
        return
    assert max(made.width, made.height) <= max(limit, 1)
    scale = min(1, limit / wide, limit / high)
    assert abs(made.width - wide * scale) <= 1
    assert abs(made.height - high * scale) <= 1


BEHIND = [
    (Format.JPEG, {"quality": 98}),
    (Format.JPEG, {"quality": 98, "progressive": True}),
    (Format.PNG, {"compress_level": 0}),
    (Format.WEBP, {"quality": 99}),
]


@pytest.mark.parametrize(("form", "how"), BEHIND)
def test_a_picture_with_something_else_behind_it_is_left_alone(
    form: Format, how: dict[str, int]
) -> None:
    original = encoded(picture("RGB"), form, **how)
    video = b"\x00\x00\x00\x18ftypmp42" + bytes(100_000)

    assert left_alone(original + video, form, EAGER).reason is Reason.TRAILER
    assert recode(original + bytes(16) + b"\xff\r\n", form, EAGER).data, "padding is nothing"


def test_a_picture_within_a_segment_is_not_the_end() -> None:
    thumbnail = encoded(picture("RGB"), Format.JPEG, quality=20)
    original = encoded(picture("RGB"), Format.JPEG, quality=98)
    length = (len(thumbnail) + 2).to_bytes(2, "big")
    with_thumbnail = original[:2] + b"\xff\xe5" + length + thumbnail + original[2:]
    assert not has_trailer(with_thumbnail, Format.JPEG)


@given(st.binary(max_size=200), st.sampled_from(list(Format)))
def test_whatever_the_bytes_are_the_end_is_found_or_not(data: bytes, form: Format) -> None:
    for beginning in (b"", b"\xff\xd8\xff\xda\x00\x02", b"\x89PNG\r\n\x1a\n"):
        assert has_trailer(beginning + data, form) in {True, False}
