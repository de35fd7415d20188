"""Data and pictures made to harm, and texts of shifts."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ood_fashion.data.pictures import read_picture
from ood_fashion.data.readers import read_idx, read_npz
from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.shift import Shift
from tests.hostile import (
    archive,
    check_refused,
    damaged,
    npy,
    put,
    read_or_refuse,
)


def idx(*shape: int, content: bytes = b"") -> bytes:
    return struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape) + content


@given(
    content=st.one_of(st.binary(), damaged(idx(3, 4, 5, content=bytes(60)))),
    packed=st.booleans(),
    cut=st.integers(0, 9),
)
def test_idx_files(hostile_folder: Path, content: bytes, packed: bool, cut: int) -> None:
    file = gzip.compress(content, mtime=0) if packed else content
    path = put(hostile_folder, "fuzz-idx3-ubyte", file[: len(file) - cut])
    read_or_refuse(lambda: read_idx(path, 3), hostile_folder)


@pytest.mark.parametrize(
    "content",
    [
        idx(2**32 - 1, 2**32 - 1, 2**32 - 1, content=bytes(100)),
        gzip.compress(idx(2**32 - 1, 28, 28, content=bytes(100))),
        gzip.compress(idx(1_000_000, 28, 28, content=bytes(100))),
        gzip.compress(idx(1, 28, 28) + bytes(1 << 24), 1),
    ],
    ids=["plain", "gzip", "as many as some set has", "a bomb behind a small header"],
)
def test_idx_files_that_claim_more_than_they_have(hostile_folder: Path, content: bytes) -> None:
    path = put(hostile_folder, "claims-idx3-ubyte", content)
    check_refused(lambda: read_idx(path, 3), hostile_folder, "expected .* bytes")


WORDS = st.sampled_from(
    ["translate", "rotate", "fog", "up4", ":", ",", "+", "-", "1e999", "nan", "٣", "0x1", "1_0", " "]
)


@given(text=st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=12).map("".join)))
def test_shifts(text: str) -> None:
    try:
        shift = Shift.parse(text)
    except InvalidValueError:
        return
    assert Shift.parse(str(shift)) == shift


def test_a_long_shift_is_read_at_once() -> None:
    assert len(Shift.parse("+".join(["rotate:1"] * 10_000)).steps) == 10_000
    with pytest.raises(InvalidValueError, match="unknown"):
        Shift.parse("fog" * 1_000_000)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


NPZ = {"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": np.array([0, 1])}


@given(content=damaged(npz(**NPZ)))
def test_npz_files(hostile_folder: Path, content: bytes) -> None:
    path = put(hostile_folder, "fuzz.npz", content)
    read_or_refuse(lambda: read_npz(path), hostile_folder)


@pytest.mark.parametrize(
    "members",
    [
        {"x_test": npy("(1000000, 1000, 1000)")},
        {"x_test": npy(f"({2**62},)")},
        {"x_test": npy("(-1,)")},
        {"x_test": npy("(" * 200 + ")" * 200)},
        {"x_test": npy("__import__('os')")},
        {"x_test": npy("(1,)", "|O")},
        {"x_test": npy("(1,)", "<U1000000000")},
        {"x_test": b"\x93NUMPY\2\0\xff\xff\xff\xff" + b" " * (1 << 24)},
    ],
)
def test_npz_files_that_claim_more_than_they_have(hostile_folder: Path, members: dict[str, bytes]) -> None:
    path = put(hostile_folder, "claims.npz", archive(**members, y_test=npy("(1,)") + b"\0"))
    check_refused(lambda: read_npz(path), hostile_folder, "expected a readable .npz file")


def test_npz_bombs(hostile_folder: Path) -> None:
    """A gigabyte, as far as the archive's directory says, which is all that is looked at."""
    content = archive(x_test=npy("(1, 32000, 32000)") + bytes(1000), y_test=npy("(1,)") + b"\0")
    entry = content.index(b"PK\1\2")
    path = put(hostile_folder, "bomb.npz", content[: entry + 24] + struct.pack("<I", 1 << 30) + content[entry + 28 :])
    check_refused(lambda: read_npz(path), hostile_folder, "bytes unpacked, more than 800,000,000")


def picture(kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 30), 80).convert(mode).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("whole", [picture("PNG"), picture("JPEG")])
@given(data=st.data())
def test_pictures(hostile_folder: Path, whole: bytes, data: st.DataObject) -> None:
    path = put(hostile_folder, "fuzz.png", data.draw(damaged(whole)))
    read_or_refuse(lambda: read_picture(path, (28, 28)), hostile_folder)


def png(width: int, height: int, channels: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Give an 8-bit PNG of zeros, with more chunks before the pixels."""
    packer = zlib.compressobj(1)
    row = bytes(1 + width * channels)
    pixels = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000, 1)[:1000],
        png(9_400, 9_400, 1)[:5_000],
        png(6_300, 6_300, 4),
        png(40, 40, 1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24)))),
        png(40, 40, 1, (b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 24)))),
    ],
)
def test_pictures_that_unpack_to_much(hostile_folder: Path, content: bytes) -> None:
    path = put(hostile_folder, "bomb.png", content)
    check_refused(lambda: read_picture(path, (28, 28)), hostile_folder)
