"""Picture files made into images as a model knows them, much as Fashion-MNIST itself was made.

Xiao, Rasul and Vollgraf (2017, section 2) trim the edges that are close to the colour of the corners (within 5% of the
greatest distance in RGB), resize the longer side to 28 pixels by skipping rows and columns, sharpen, centre the
picture, make it a negative, since their photographs have a white background, and grey. Here resizing averages pixels
and nothing is sharpened: test images that are enlarged and prepared again come out closer to themselves like that.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError

from ood_fashion.errors import DataError, summarize_error
from ood_fashion.files import is_file, is_folder, list_folder, reason

ENDINGS = (".png", ".jpg", ".jpeg")

_WORKING_SIZE = 1024
"""Larger pictures are made smaller first; it bounds memory and is far more than a model takes."""
_MAX_PNG_PIXELS = 40_000_000
"""A PNG picture is unpacked as a whole, to some 20 bytes a pixel with transparency; JPEG skips detail."""
_PNG_DEPTH = 24
"""Where a PNG file has the number of bits of a sample."""
_CLOSE = 0.05
_CORNER = 0.05  # of the shorter side
_WHITE = 255


@dataclass(frozen=True)
class Picture:
    """A picture as a model takes it: uint8 (height, width) on a dark background, and what was done to make it so."""

    path: Path
    pixels: NDArray[np.uint8]
    steps: tuple[str, ...]


def read_pictures(paths: Iterable[Path], shape: tuple[int, int]) -> tuple[list[Picture], list[str], list[str]]:
    """Read picture files, and all those in folders that are not hidden, in the order of their names.

    Returns:
        The pictures; a line for each file that cannot be read, in a folder from which others are; and a line for each
        file or folder of `paths` that cannot be read.
    """
    pictures: list[Picture] = []
    passed_over: list[str] = []
    failures: list[str] = []
    for path in paths:
        read, failed = [], []
        try:
            for file in _files(path):
                try:
                    read.append(read_picture(file, shape))
                except DataError as error:
                    failed.append(str(error))
        except DataError as error:
            failed.append(str(error))
        pictures += read
        (passed_over if read else failures).extend(failed)
    return pictures, passed_over, failures


def _files(path: Path) -> list[Path]:
    if not is_folder(path, DataError):
        return [path]
    found = [file for file in list_folder(path, DataError) if _may_be_picture(file)]
    if not found:
        raise DataError(f"{path}: expected pictures that end in {', '.join(ENDINGS)}. Received: a folder without any.")
    return found


def _may_be_picture(file: Path) -> bool:
    if file.name.startswith(".") or file.suffix.lower() not in ENDINGS:
        return False
    try:
        return is_file(file, DataError)
    except DataError:
        return True  # reading it says why not


def read_picture(path: Path, shape: tuple[int, int]) -> Picture:
    """Read a PNG or JPEG picture and make it an image of a given size on a dark background.

    A picture of that size already is only made grey, and a negative if its corners are light. Any other is trimmed to
    what differs from the colour of the corners, made grey, and a negative if that is darker than the corners, whose
    level becomes 0; then it is resized to fit and put into the middle.
    """
    picture, steps = _read(path)
    grey = np.asarray(picture.convert("L"))
    corners = _corners(grey)
    if grey.shape == shape:
        if corners > _WHITE / 2:
            grey = _WHITE - grey
            steps.append("light background inverted")
        return Picture(path, grey, tuple(steps))
    colours = np.asarray(picture.convert("RGB"), np.float32)
    distance = np.sqrt(np.mean(np.square(colours - _corners(colours)), axis=2)) / _WHITE
    content = distance > _CLOSE
    if not content.any():
        raise DataError(f"{path}: expected something on a background. Received: one colour all over.")
    levels = grey.astype(np.float32)
    if levels[content].mean() < corners:
        levels, corners = _WHITE - levels, _WHITE - corners
        steps.append("light background inverted")
    if corners:
        levels = (levels - corners) * (_WHITE / (_WHITE - corners))
        steps.append("background made black")
    trimmed = levels[tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(content))]
    if trimmed.shape != grey.shape:
        steps.append(f"trimmed to {_size(trimmed.shape)}")
    scale = min(wanted / size for wanted, size in zip(shape, trimmed.shape, strict=True))
    height, width = (max(1, round(size * scale)) for size in trimmed.shape)
    small = Image.fromarray(np.rint(trimmed.clip(0, _WHITE)).astype(np.uint8)).resize((width, height))
    if not small.getbbox():
        raise DataError(f"{path}: expected something lighter or darker than its background. Received: one grey.")
    canvas = Image.new("L", (shape[1], shape[0]))
    canvas.paste(small, ((shape[1] - width) // 2, (shape[0] - height) // 2))
    steps += [f"resized to {_size((height, width))}", f"centred in {_size(shape)}"]
    return Picture(path, np.asarray(canvas), tuple(steps))


def read_grey(path: Path, opened: BinaryIO | None = None) -> NDArray[np.uint8]:
    """Read a grey PNG or JPEG picture as it is, uint8 (height, width), from a path or from what is open already."""
    picture, steps = _read(path, opened)
    if "made grey" in steps:
        raise DataError(f"{path}: expected a grey picture. Received: one in colour. Convert it to grey.")
    return np.asarray(picture.convert("L"))


def _corners(pixels: NDArray[Any]) -> Any:
    """Return the median of the four corners of an array (height, width, ...)."""
    size = max(1, round(_CORNER * min(pixels.shape[:2])))
    ends = (slice(size), slice(-size, None))
    return np.median(np.concatenate([pixels[rows, columns] for rows in ends for columns in ends]), axis=(0, 1))


def _size(shape: tuple[int, ...]) -> str:
    """Write (height, width) as people do with pictures."""
    return f"{shape[1]}x{shape[0]}"


def _read(path: Path, opened: BinaryIO | None = None) -> tuple[Image.Image, list[str]]:
    """Return a file's picture, in 8 bits, grey or RGB, no larger than needed, and what was done to it."""
    try:
        with path.open("rb") if opened is None else nullcontext(opened) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                if image.format == "PNG" and (frames := getattr(image, "n_frames", 1)) > 1:
                    raise DataError(f"{path}: expected a single picture. Received: an animation of {frames} frames.")
                if image.format == "PNG" and image.width * image.height > _MAX_PNG_PIXELS:
                    raise DataError(
                        f"{path}: expected a PNG picture of at most {_MAX_PNG_PIXELS:,} pixels. "
                        f"Received: {_size((image.height, image.width))}. Make it smaller."
                    )
                return _decode(image, file)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: expected a picture of at most {Image.MAX_IMAGE_PIXELS:,} pixels. Received: more. Make it smaller."
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: expected a PNG or JPEG picture. Received: something else, or a damaged one."
        ) from error
    except DataError:
        raise
    except Exception as error:  # Pillow lets through whatever a damaged file makes its decoders raise
        raise DataError(
            f"{path}: expected a readable PNG or JPEG picture. Received: {summarize_error(error, reason(error))}."
        ) from error


def _decode(image: Image.Image, file: BinaryIO) -> tuple[Image.Image, list[str]]:
    steps = []
    image.draft(None, (_WORKING_SIZE, _WORKING_SIZE))  # lets a JPEG decoder skip detail
    turned = ImageOps.exif_transpose(image)
    if image.getexif().get(ExifTags.Base.Orientation) in range(2, 9):
        steps.append("turned as its EXIF data say")
    transparent = None if turned.mode == "P" else _find_key(turned, file)
    if turned.mode.startswith("I"):
        turned = Image.fromarray(np.rint(np.asarray(turned, np.float32) / 257).astype(np.uint8))
        steps.append("16 bits made 8")
    if transparent is not None:
        turned = turned.convert("RGB")
        turned.putalpha(Image.fromarray(np.where(transparent, 0, _WHITE).astype(np.uint8)))
    if turned.has_transparency_data:
        layer = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        if layer.getchannel("A").getextrema() != (_WHITE, _WHITE):
            steps.append("put on white where transparent")
    if turned.mode not in ("1", "L"):
        turned = turned.convert("RGB")
        red, green, blue = turned.split()
        if ImageChops.difference(red, green).getbbox() or ImageChops.difference(green, blue).getbbox():
            steps.append("made grey")
    turned.thumbnail((_WORKING_SIZE, _WORKING_SIZE))
    return turned, steps


def _find_key(picture: Image.Image, file: BinaryIO) -> NDArray[np.bool_] | None:
    """Return where a picture has the colour that the file's tRNS chunk makes transparent, (height, width).

    That colour has the file's bits a sample. Pillow compares it with samples of 8 bits, and not at all with grey ones
    of 16, so it is taken from the picture.
    """
    colour = picture.info.pop("transparency", None)
    if colour is None:
        return None
    file.seek(_PNG_DEPTH)
    (depth,) = file.read(1)
    key = np.asarray(colour) % 2**depth  # further bits are to be ignored
    if depth == 16 and picture.mode == "RGB":
        file.seek(0)
        with Image.open(file, formats=("PNG",)) as low:
            low.tile = [low.tile[0]._replace(args="RGB;16L")]
            return _equals(picture, key >> 8) & _equals(ImageOps.exif_transpose(low), key & 0xFF)
    if depth in (2, 4):
        key *= _WHITE // (2**depth - 1)  # as Pillow scales the samples
    return _equals(picture, key)


def _equals(picture: Image.Image, colour: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = np.all(np.atleast_3d(np.asarray(picture) == colour), axis=2)
    return equal
