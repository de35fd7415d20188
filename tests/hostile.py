"""What the tests of hostile files share: refused in one line, nothing written, no more than 1 GB taken.

`pytest tests/test_hostile_*.py --hypothesis-profile=fuzz --hypothesis-seed=N` tries a hundred times as many inputs,
each within 2 s.
"""

from __future__ import annotations

import ctypes
import io
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from ood_fashion.errors import OodFashionError

RARELY = settings(max_examples=(settings.default or settings()).max_examples // 20)
"""For what takes a tenth of a second."""
GIGABYTE = 1_000_000_000


def memory(key: str) -> int:
    """Return VmRSS or VmHWM, the most that it was, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return 1024 * int(line.split()[1])


@contextmanager
def contained(folder: Path) -> Iterator[None]:
    """Check that the block neither writes into a folder nor takes more than a gigabyte."""
    before = sorted(folder.rglob("*"))
    Path("/proc/self/clear_refs").write_text("5")  # lets VmHWM begin anew
    began = memory("VmRSS")
    yield
    assert memory("VmHWM") - began < GIGABYTE
    assert sorted(folder.rglob("*")) == before


def check_refused(read: Callable[[], object], folder: Path, message: str = "expected") -> None:
    """Check that reading is refused in one line."""
    with contained(folder), pytest.raises(OodFashionError, match=message) as caught:
        read()
    assert "\n" not in str(caught.value)


def read_or_refuse(read: Callable[[], object], folder: Path) -> None:
    """Check that reading succeeds or is refused in one line."""
    with contained(folder):
        message = ""
        try:
            read()
        except OodFashionError as error:
            message = str(error)
        assert "\n" not in message


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Give a file with some bytes changed, cut out or doubled."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 64)))
        content[start:end] = draw(st.one_of(st.binary(max_size=64), st.just(bytes(content[start:end]) * 2)))
    return bytes(content)


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("none")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give every container in a JSON document with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(shape: str, descr: str = "|u1", version: bytes = b"\1\0") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(header)) + header


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """Make the modes of files bind in the block, for root too: Linux lets a thread do without what frees it of them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    library, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, the lower halves first
    if library.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    before, sets[0] = sets[0], sets[0] & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if library.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
    try:
        yield
    finally:
        sets[0] = before
        library.capset(header, sets)
