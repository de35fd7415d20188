from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.pictures import read_picture, read_pictures
from ood_fashion.errors import DataError

SHAPE = (28, 28)


def draw_boot(ink: Any = (120, 70, 35), paper: Any = (236, 232, 220), mode: str = "RGB") -> Image.Image:
    """Draw a boot on paper, 300x200, in the part from column 60 to 231 and row 30 to 171."""
    picture = Image.new(mode, (300, 200), paper)
    ImageDraw.Draw(picture).polygon([(150, 30), (220, 30), (231, 171), (60, 171), (62, 150), (140, 110)], fill=ink)
    return picture


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def test_test_images_are_taken_as_they_are(fashion: Dataset, tmp_path: Path) -> None:
    """All kinds of grey files, and negatives, give the very pixels."""
    for index, image in enumerate(fashion.test.images[:100]):
        for mode in ("L", "RGB", "P"):
            picture = read_picture(save(Image.fromarray(image).convert(mode), tmp_path / f"{mode}.png"), SHAPE)
            np.testing.assert_array_equal(picture.pixels, image)
            assert picture.steps == (), (index, mode)
        picture = read_picture(save(Image.fromarray(255 - image), tmp_path / "negative.png"), SHAPE)
        np.testing.assert_array_equal(picture.pixels, image)
        assert picture.steps == ("light background inverted",)


def test_no_image_of_fashion_mnist_looks_like_a_negative(fashion: Dataset) -> None:
    for split in (fashion.train, fashion.test):
        corners = split.images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.median(corners, axis=1).max() < 128


def test_a_colour_picture_on_light_paper(tmp_path: Path) -> None:
    picture = read_picture(save(draw_boot(), tmp_path / "boot.png"), SHAPE)
    assert picture.steps == (
        "made grey",
        "light background inverted",
        "background made black",
        "trimmed to 172x142",
        "resized to 28x23",
        "centred in 28x28",
    )
    pixels = picture.pixels
    assert (pixels.shape, pixels.dtype.name) == (SHAPE, "uint8")
    assert not pixels[:2].any()  # (28 - 23) // 2 rows
    assert not pixels[25:].any()
    assert not pixels[2:10, :10].any()  # above the toes
    assert (pixels[22, 2:26] > 100).all()  # the sole, from edge to edge
    # From paper to black is 255: luma 232 to 0, and the boot's is 81.
    assert np.median(pixels[pixels > 100]) == pytest.approx((232 - 81) * 255 / 232, abs=2)


def test_dark_and_light_paper_give_the_same(tmp_path: Path) -> None:
    light = read_picture(save(draw_boot(ink=55, paper=255, mode="L"), tmp_path / "light.png"), SHAPE)
    dark = read_picture(save(draw_boot(ink=200, paper=0, mode="L"), tmp_path / "dark.png"), SHAPE)
    np.testing.assert_array_equal(light.pixels, dark.pixels)
    assert light.steps == ("light background inverted", *dark.steps)
    # What is lighter than a light background stays lighter than the background.
    pale = read_picture(save(draw_boot(ink=255, paper=160, mode="L"), tmp_path / "pale.png"), SHAPE)
    assert pale.steps[0] == "background made black"
    assert pale.pixels.max() > 250


@pytest.mark.parametrize("shape", [(8, 8), (20, 30), (64, 32)])
def test_the_content_fills_the_models_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = read_picture(save(draw_boot(), tmp_path / "boot.png"), shape).pixels
    assert pixels.shape == shape
    rows, columns = (np.flatnonzero(pixels.max(axis=axis) > 30) for axis in (1, 0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height == shape[0] or width == shape[1]
    assert width / height == pytest.approx(172 / 142, rel=0.15)
    assert abs(rows[0] - (shape[0] - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (shape[1] - 1 - columns[-1])) <= 1


def test_jpeg_is_as_good_as_png(tmp_path: Path) -> None:
    png, jpeg = (read_picture(save(draw_boot(), tmp_path / f"boot.{end}"), SHAPE).pixels for end in ("png", "jpg"))
    assert np.abs(png.astype(int) - jpeg).mean() < 12


def test_a_large_photograph_is_as_good_as_a_small_one(tmp_path: Path) -> None:
    small = read_picture(save(draw_boot(), tmp_path / "small.png"), SHAPE).pixels
    large = draw_boot().resize((6000, 4000), Image.Resampling.NEAREST)
    for name in ("large.png", "large.jpg"):
        pixels = read_picture(save(large, tmp_path / name), SHAPE).pixels
        assert np.abs(pixels.astype(int) - small).mean() < 4


def test_a_single_row_and_a_single_pixel(tmp_path: Path) -> None:
    line = np.zeros((50, 90), np.uint8)
    line[20, 10:70] = 255
    assert (read_picture(save(Image.fromarray(line), tmp_path / "line.png"), SHAPE).pixels[13] == 255).all()
    line[20, 11:] = 0
    assert (read_picture(save(Image.fromarray(line), tmp_path / "dot.png"), SHAPE).pixels == 255).all()


def on_white() -> NDArray[np.uint8]:
    return np.asarray(draw_boot(ink=(120, 70, 35), paper="white"))


def transparent() -> Image.Image:
    alpha = draw_boot(ink=255, paper=0, mode="L")
    picture = Image.new("RGBA", (300, 200), (120, 70, 35))
    picture.putalpha(alpha)
    return picture


OTHER_KINDS: dict[str, tuple[Callable[[], Image.Image], str, str]] = {
    "transparent": (transparent, "png", "put on white where transparent"),
    "palette": (lambda: Image.fromarray(on_white()).quantize(8), "png", "made grey"),
    "transparent palette": (lambda: transparent().quantize(8), "png", "put on white where transparent"),
    "opaque": (lambda: Image.fromarray(on_white()).convert("RGBA"), "png", "made grey"),
    "cmyk": (lambda: Image.fromarray(on_white()).convert("CMYK"), "jpg", "made grey"),
    "bits": (lambda: Image.fromarray(on_white()).convert("L").point(lambda v: 255 * (v > 200), "1"), "png", "light"),
    "grey and alpha": (lambda: transparent().convert("LA"), "png", "put on white where transparent"),
    "16 bits": (
        lambda: Image.fromarray(np.asarray(Image.fromarray(on_white()).convert("L"), np.uint16) * 257),
        "png",
        "16 bits made 8",
    ),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_every_kind_of_file_gives_the_same_boot(tmp_path: Path, kind: str) -> None:
    make, ending, step = OTHER_KINDS[kind]
    expected = read_picture(save(Image.fromarray(on_white()), tmp_path / "plain.png"), SHAPE).pixels
    picture = read_picture(save(make(), tmp_path / f"other.{ending}"), SHAPE)
    assert any(done.startswith(step) for done in picture.steps)
    assert ((picture.pixels > 60) == (expected > 60)).mean() > 0.97
    assert kind == "bits" or np.abs(picture.pixels.astype(int) - expected).mean() < 8


def test_a_picture_taken_sideways_is_turned(tmp_path: Path) -> None:
    upright = read_picture(save(draw_boot(), tmp_path / "upright.png"), SHAPE)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned clockwise
    sideways = draw_boot().transpose(Image.Transpose.ROTATE_90)
    picture = read_picture(save(sideways, tmp_path / "sideways.png", exif=exif), SHAPE)
    np.testing.assert_array_equal(picture.pixels, upright.pixels)
    assert picture.steps[0] == "turned as its EXIF data say"


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_a_picture_that_is_not_turned_has_no_note(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    upright = read_picture(save(draw_boot(), tmp_path / "upright.png"), SHAPE)
    picture = read_picture(save(draw_boot(), tmp_path / "odd.png", exif=exif), SHAPE)
    np.testing.assert_array_equal(picture.pixels, upright.pixels)
    assert picture.steps == upright.steps


def test_the_first_picture_of_a_jpeg_with_several_is_taken(tmp_path: Path) -> None:
    """Telephones write such files, with a preview or a map of brightness."""
    plain = read_picture(save(draw_boot(), tmp_path / "plain.jpg"), SHAPE)
    pair = save(draw_boot(), tmp_path / "pair.jpg", format="MPO", save_all=True, append_images=[draw_boot(ink="red")])
    np.testing.assert_array_equal(read_picture(pair, SHAPE).pixels, plain.pixels)


def png(ihdr: tuple[int, int, int, int], rows: list[bytes], **chunks: bytes) -> bytes:
    """Write a PNG file by hand.

    Args:
        ihdr: width, height, bits a sample, kind of colour.
        rows: the samples of each row, packed.
        chunks: what comes before the samples, by the chunks' names.
    """

    def chunk(kind: str, content: bytes) -> bytes:
        body = kind.encode() + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    samples = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = {"IHDR": struct.pack(">IIBBBBB", *ihdr, 0, 0, 0), **chunks, "IDAT": samples, "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts.items())


def png_of_size(width: int, height: int) -> bytes:
    """Write a PNG file that claims a size and holds one row of nothing."""
    return png((width, height, 8, 0), [b""])


GREY, COLOUR, PALETTE = 0, 2, 3


def keyed(depth: int, kind: int, ink: tuple[int, ...], key: tuple[int, ...], **chunks: bytes) -> bytes:
    """Write a square of 14 pixels in the middle of 28, on the colour that tRNS makes transparent."""
    drawn, paper = ("".join(f"{sample:0{depth}b}" for sample in colour) for colour in (ink, key))
    bits = [paper * 28] * 7 + [paper * 7 + drawn * 14 + paper * 7] * 14 + [paper * 28] * 7
    rows = [int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8)) for row in bits]
    transparent = {"tRNS": b"".join(sample.to_bytes(2) for sample in key)}
    return png((28, 28, depth, kind), rows, **{**transparent, **chunks})


KEYED: dict[str, tuple[bytes, int]] = {
    # What is drawn: the grey of the square in 8 bits, on white.
    "1 bit": (keyed(1, GREY, (0,), (1,)), 0),
    "2 bits": (keyed(2, GREY, (2,), (1,)), 170),
    "4 bits": (keyed(4, GREY, (3,), (9,)), 51),
    "8 bits": (keyed(8, GREY, (77,), (130,)), 77),
    "16 bits": (keyed(16, GREY, (77 * 257,), (0x1234,)), 77),
    "16 bits, alike in 8": (keyed(16, GREY, (0x4D4D,), (0x4D4E,)), 77),
    "colour": (keyed(8, COLOUR, (90, 90, 90), (9, 8, 7)), 90),
    "colour of 16 bits": (keyed(16, COLOUR, (90 * 257,) * 3, (0x1234, 0xABCD, 0x0001)), 90),
    "colour of 16 bits, alike in 8": (keyed(16, COLOUR, (0x5A5A,) * 3, (0x5A5A, 0x5A5A, 0x5A5B)), 90),
    "more bits than there are": (keyed(4, GREY, (3,), (9,), tRNS=b"\xab\xc9"), 51),
    "palette": (keyed(4, PALETTE, (1,), (2,), PLTE=bytes((0,) * 3 + (60,) * 3 + (70,) * 3), tRNS=b"\xff\xff\0"), 60),
}


@pytest.mark.parametrize("kind", KEYED)
def test_a_transparent_colour_counts_as_white(tmp_path: Path, kind: str) -> None:
    content, ink = KEYED[kind]
    (tmp_path / "keyed.png").write_bytes(content)
    picture = read_picture(tmp_path / "keyed.png", SHAPE)
    expected = np.zeros(SHAPE, int)
    expected[7:21, 7:21] = 255 - ink
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.steps[-2:] == ("put on white where transparent", "light background inverted")


def test_a_colour_that_no_pixel_has_hides_nothing(tmp_path: Path) -> None:
    """One that is the same in its upper 8 bits alone, upright and turned by EXIF data."""
    for exif in ({}, {"eXIf": bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")}):
        content = keyed(16, COLOUR, (0x5A5A,) * 3, (0xC0C0,) * 3, tRNS=b"\xc0\xc0" * 2 + b"\xc0\xc1", **exif)
        (tmp_path / "opaque.png").write_bytes(content)
        picture = read_picture(tmp_path / "opaque.png", SHAPE)
        assert (picture.pixels[0, 0], picture.pixels[14, 14]) == (255 - 0xC0, 255 - 0x5A)
        assert picture.steps == ("turned as its EXIF data say",) * bool(exif) + ("light background inverted",)


def as_bytes(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


REFUSED: dict[str, tuple[bytes, str]] = {
    "text": (b"no picture", "expected a PNG or JPEG picture. Received: something else"),
    "empty": (b"", "expected a PNG or JPEG picture"),
    "GIF": (as_bytes(draw_boot(), "GIF"), "expected a PNG or JPEG picture"),
    "bomb": (png_of_size(50_000, 50_000), r"of at most 89,478,485 pixels\. Received: more\. Make it smaller"),
    "large": (png_of_size(10_000, 10_000), r"of at most 89,478,485 pixels"),
    "cut off PNG": (as_bytes(draw_boot(), "PNG")[:400], "expected a readable PNG or JPEG picture. Received: "),
    "cut off JPEG": (as_bytes(draw_boot(), "JPEG")[:900], "expected a readable PNG or JPEG picture. Received: "),
    "no height": (png_of_size(28, 0), "expected a"),
    "no pixels": (png_of_size(28, 28), "expected a readable PNG or JPEG picture. Received: "),
    "animation": (
        as_bytes(draw_boot(), "PNG", save_all=True, append_images=[draw_boot(ink="red")] * 2),
        "expected a single picture. Received: an animation of 3 frames",
    ),
    "one colour": (as_bytes(draw_boot(ink="navy", paper="navy"), "PNG"), "Received: one colour all over"),
    "as light": (as_bytes(draw_boot(ink="red", paper=(0, 130, 0)), "PNG"), "lighter or darker than its background"),
    "nearly one": (as_bytes(draw_boot(ink=(9, 9, 9), paper="black"), "PNG"), "Received: one colour all over"),
    "white on nothing": (as_bytes(Image.new("RGBA", (50, 60), (255, 255, 255, 99)), "PNG"), "one colour all over"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, kind: str) -> None:
    content, message = REFUSED[kind]
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_picture(tmp_path / "file.png", SHAPE)
    assert str(caught.value).startswith(f"{tmp_path / 'file.png'}: expected ")
    assert "\n" not in str(caught.value)


def test_folders_and_failures(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.PNG", "a.jpg", "c.jpeg"):
        save(draw_boot(), folder / name)
    (folder / "d.png").write_bytes(b"no picture")
    (folder / "._a.jpg").write_bytes(b"what macOS leaves beside a picture")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "notes.txt").write_text("passed over")
    (folder / "inner.png").mkdir()
    (tmp_path / "empty").mkdir()
    single = save(draw_boot(), tmp_path / "single.png")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "only.png").write_bytes(b"no picture")
    pictures, passed_over, failures = read_pictures(
        [folder, single, tmp_path / "empty", damaged, folder / "d.png", tmp_path / "absent.png"], SHAPE
    )
    assert [picture.path for picture in pictures] == [folder / "a.jpg", folder / "b.PNG", folder / "c.jpeg", single]
    assert [line.partition(": ")[0] for line in passed_over] == [str(folder / "d.png"), str(folder / "loop.png")]
    assert [failure.partition(": ")[0] for failure in failures] == [
        str(tmp_path / "empty"),
        str(damaged / "only.png"),
        str(folder / "d.png"),
        str(tmp_path / "absent.png"),
    ]
    assert failures[0].endswith("expected pictures that end in .png, .jpg, .jpeg. Received: a folder without any.")
    assert failures[3].endswith("expected a readable PNG or JPEG picture. Received: No such file or directory.")
