"""Files made to harm: refused with one line, no code of theirs run, nothing written, no more than 1 GB taken.

`pytest tests/test_hostile.py --hypothesis-profile=fuzz --hypothesis-seed=N` tries a hundred times as many of them, each
within 2 s.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ood_fashion.data_files import read_idx, read_npz
from ood_fashion.datasets import Dataset
from ood_fashion.errors import InvalidValueError, OodFashionError
from ood_fashion.nn.models import build_model, load_model
from ood_fashion.pictures import read_picture
from ood_fashion.runs import Run
from ood_fashion.shifts import Shift
from tests.records import write_run

RARELY = settings(max_examples=(settings.default or settings()).max_examples // 20)
"""For what takes a tenth of a second."""
GIGABYTE = 1_000_000_000


class Bomb:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where hostile files lie, and nothing may be written besides."""
    return tmp_path_factory.mktemp("hostile")


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def idx(*shape: int, content: bytes = b"") -> bytes:
    return struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape) + content


@given(
    content=st.one_of(st.binary(), damaged(idx(3, 4, 5, content=bytes(60)))),
    packed=st.booleans(),
    cut=st.integers(0, 9),
)
def test_idx_files(folder: Path, content: bytes, packed: bool, cut: int) -> None:
    file = gzip.compress(content) if packed else content
    path = put(folder, "fuzz-idx3-ubyte", file[: len(file) - cut])
    read_or_refuse(lambda: read_idx(path, 3), folder)


@pytest.mark.parametrize(
    "content",
    [
        idx(2**32 - 1, 2**32 - 1, 2**32 - 1, content=bytes(100)),
        gzip.compress(idx(2**32 - 1, 28, 28, content=bytes(100))),
        gzip.compress(idx(1_000_000, 28, 28, content=bytes(100))),
        gzip.compress(idx(1, 28, 28) + bytes(1 << 24), 1),  # a bomb behind a small header
    ],
)
def test_idx_files_that_claim_more_than_they_have(folder: Path, content: bytes) -> None:
    path = put(folder, "claims-idx3-ubyte", content)
    check_refused(lambda: read_idx(path, 3), folder, "expected .* bytes")


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


@pytest.fixture(scope="module")
def run(small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("hostile-run") / "run", small_fashion)


def read_everything(run: Run) -> None:
    from ood_fashion import tables

    run = Run.open(run.path)
    _ = run.class_names
    run.read_predictions()
    tables.run_report(run.record, run.read_history(), run.read_metrics())


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


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@given(data=st.data())
def test_documents_of_a_run(run: Run, name: str, data: st.DataObject) -> None:
    path = run.path / name
    whole = path.read_bytes()
    document = json.loads(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(document))))
        container[key] = data.draw(JSON)
    try:
        path.write_text(json.dumps(document))
        read_or_refuse(lambda: read_everything(run), run.path)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "history.csv", "predictions.npz"])
@given(data=st.data())
def test_damaged_files_of_a_run(run: Run, name: str, data: st.DataObject) -> None:
    path = run.path / name
    whole = path.read_bytes()
    try:
        path.write_bytes(data.draw(damaged(whole)))
        read_or_refuse(lambda: read_everything(run), run.path)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"[" * 1_000_000),
        ("config.json", b"{" + b" " * 40_000_000 + b"}"),
        ("metrics.json", b'{"a":' * 100_000),
        ("metrics.json", b'{"results": [], "training": NaN}'),
        ("history.csv", b"epoch," + b"9" * 1_000_000),
        ("history.csv", b"epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,2,3,4,5,inf\n"),
    ],
)
def test_documents_that_no_training_leaves(run: Run, name: str, content: bytes) -> None:
    path = run.path / name
    whole = path.read_bytes()
    try:
        path.write_bytes(content)
        check_refused(lambda: read_everything(run), run.path)
    finally:
        path.write_bytes(whole)


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


NPZ = {"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": np.array([0, 1])}


@given(content=damaged(npz(**NPZ)))
def test_npz_files(folder: Path, content: bytes) -> None:
    path = put(folder, "fuzz.npz", content)
    read_or_refuse(lambda: read_npz(path), folder)


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(shape: str, descr: str = "|u1", version: bytes = b"\1\0") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(header)) + header


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
def test_npz_files_that_claim_more_than_they_have(folder: Path, members: dict[str, bytes]) -> None:
    path = put(folder, "claims.npz", archive(**members, y_test=npy("(1,)") + b"\0"))
    check_refused(lambda: read_npz(path), folder, "expected a readable .npz file")


def test_npz_bombs(folder: Path) -> None:
    """A gigabyte, as far as the archive's directory says, which is all that is looked at."""
    content = archive(x_test=npy("(1, 32000, 32000)") + bytes(1000), y_test=npy("(1,)") + b"\0")
    entry = content.index(b"PK\1\2")
    path = put(folder, "bomb.npz", content[: entry + 24] + struct.pack("<I", 1 << 30) + content[entry + 28 :])
    check_refused(lambda: read_npz(path), folder, "bytes unpacked, more than 800,000,000")


def test_pickles_are_left_alone(folder: Path, run: Run, tmp_path: Path) -> None:
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb(folder / "exploded")], object), allow_pickle=True)
    hostile = objects.getvalue()
    named = {"x_test": hostile, "y_test": npy("(1,)") + b"\0", "none/classes": hostile, "none/confidences": hostile}
    for content in (pickle.dumps(Bomb(folder / "exploded")), archive(**named)):
        path = put(folder, "pickled.npz", content)
        check_refused(lambda path=path: read_npz(path), folder)  # type: ignore[misc]
        copy = Run(Path(shutil.copytree(run.path, tmp_path / "copy", dirs_exist_ok=True)))
        for name, read in (("predictions.npz", copy.read_predictions), ("checkpoint.npz", copy.read_checkpoint)):
            put(copy.path, name, content)
            check_refused(read, folder)


def picture(kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 30), 80).convert(mode).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("whole", [picture("PNG"), picture("JPEG")])
@given(data=st.data())
def test_pictures(folder: Path, whole: bytes, data: st.DataObject) -> None:
    path = put(folder, "fuzz.png", data.draw(damaged(whole)))
    read_or_refuse(lambda: read_picture(path, (28, 28)), folder)


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
def test_pictures_that_unpack_to_much(folder: Path, content: bytes) -> None:
    path = put(folder, "bomb.png", content)
    check_refused(lambda: read_picture(path, (28, 28)), folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of an honest .keras file."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    build_model("mlp").save(path)
    with ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def put_model(folder: Path, members: dict[str, Any]) -> Path:
    path = folder / "hostile.keras"
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


@RARELY
@given(data=st.data())
def test_models_with_other_settings(folder: Path, model: dict[str, bytes], data: st.DataObject) -> None:
    config = json.loads(model["config.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(config))))
        container[key] = data.draw(st.one_of(JSON, st.integers(0, 10**12)))
    path = put_model(folder, {**model, "config.json": config})
    read_or_refuse(lambda: load_model(path), folder)


@RARELY
@given(data=st.data())
def test_damaged_models(folder: Path, model: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["config.json", "model.weights.h5", ""]))
    if name:
        path = put_model(folder, {**model, name: data.draw(damaged(model[name]))})
    else:
        path = put(folder, "hostile.keras", data.draw(damaged(put_model(folder, model).read_bytes())))
    read_or_refuse(lambda: load_model(path), folder)


def with_layer(model: dict[str, bytes], module: str, name: str, **config: Any) -> dict[str, Any]:
    whole = json.loads(model["config.json"])
    layer = {"module": module, "class_name": name, "config": config, "registered_name": None}
    whole["config"]["layers"][1] = layer
    return {**model, "config.json": whole}


def with_units(model: dict[str, bytes], units: int) -> dict[str, Any]:
    """Give a model with a huge last layer, in itself consistent."""
    whole = json.loads(model["config.json"])
    whole["config"]["layers"][-1]["config"]["units"] = units
    return {**model, "config.json": whole}


def with_kernel(model: dict[str, bytes], change: Callable[[h5py.Group], object]) -> dict[str, Any]:
    """Give a model whose first kernel is something else in the HDF5 file."""
    stream = io.BytesIO(model["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        variables = file["layers/dense/vars"]
        del variables["0"]
        change(variables)
    return {**model, "model.weights.h5": stream.getvalue()}


SECRET = Path("/etc/passwd")

HOSTILE_MODELS: dict[str, Callable[[dict[str, bytes]], dict[str, Any]]] = {
    "huge layer": lambda model: with_units(model, 10**8),
    "huger layer": lambda model: with_units(model, 10**15),
    "many layers": lambda model: with_layer(model, "keras", "Sequential", layers=[{"class_name": "ReLU"}] * 10**5),
    "nested": lambda model: {**model, "config.json": b'{"config":' * 10**5},
    "bomb config": lambda model: {**model, "config.json": b" " * 10**8},
    "bomb weights": lambda model: {**model, "model.weights.h5": bytes(10**8)},
    "traversing member": lambda model: {**model, "../outside": b"x"},
    "traversing asset": lambda model: {**model, "assets/../../outside": b"x"},
    "no weights": lambda model: {name: model[name] for name in ("config.json", "metadata.json")},
    "os.system": lambda model: with_layer(model, "os", "system", command="touch exploded"),
    "get_file": lambda model: with_layer(model, "keras.utils", "get_file", fname="x", origin="http://127.0.0.1:1"),
    "SavedModel": lambda model: with_layer(model, "keras.layers", "TFSMLayer", filepath="/", call_endpoint="serve"),
    "lambda": lambda model: with_layer(
        model, "keras.layers", "Lambda", function={"class_name": "__lambda__", "config": {"code": "4wAAAAA="}}
    ),
    "function": lambda model: with_layer(
        model, "keras.layers", "Activation", activation={"module": "os", "class_name": "function", "config": "system"}
    ),
    "vocabulary": lambda model: with_layer(model, "keras.layers", "StringLookup", vocabulary=str(SECRET)),
    "external link": lambda model: with_kernel(model, lambda g: g.__setitem__("0", h5py.ExternalLink(SECRET, "/x"))),
    "external storage": lambda model: with_kernel(
        model, lambda g: g.create_dataset("0", (784, 128), "f4", external=[(str(SECRET), 0, h5py.h5f.UNLIMITED)])
    ),
    "huge dataset": lambda model: with_kernel(
        model, lambda g: g.create_dataset("0", (10**6, 10**6), "f4", chunks=(1000, 1000))
    ),
    "soft link": lambda model: with_kernel(model, lambda g: g.__setitem__("0", h5py.SoftLink("/layers/dense/vars/0"))),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_MODELS)
def test_hostile_models(folder: Path, model: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    path = put_model(folder, HOSTILE_MODELS[name](model))
    check_refused(lambda: load_model(path), folder, "expected a model that Keras can load safely")


def test_a_lambda_is_not_loaded(folder: Path) -> None:
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Lambda(lambda x: x)]).save(folder / "lambda.keras")
    check_refused(lambda: load_model(folder / "lambda.keras"), folder, "Lambda")


def test_honest_models_are_not_refused(tmp_path: Path) -> None:
    layers = keras.layers
    image = keras.Input((28, 28, 1))
    both = layers.Add()([layers.SeparableConv2D(4, 3)(image), layers.Conv2D(4, 3, dtype="mixed_float16")(image)])
    scores = layers.Dense(10)(layers.SpectralNormalization(layers.Dense(5))(layers.Flatten()(both)))
    chain = [layers.RandomFlip(), layers.Dropout(0.5), layers.BatchNormalization(), layers.Flatten(), layers.Dense(10)]
    for made in (keras.Model(image, scores), keras.Sequential([keras.Input((28, 28, 1)), *chain])):
        made.compile("adam", "mse")
        made.save(tmp_path / "honest.keras")
        loaded = load_model(tmp_path / "honest.keras")
        for received, expected in zip(loaded.get_weights(), made.get_weights(), strict=True):
            np.testing.assert_array_equal(received, expected)
