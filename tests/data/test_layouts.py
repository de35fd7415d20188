"""Published sets in layouts of their own, each written here as its publisher writes it."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ood_fashion as ood
from ood_fashion.data import layouts
from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import DataError, InvalidValueError
from tests.conftest import Invoke, idx_bytes

N = 40
"""Images of each split; fewer, and a class would be missing."""


@pytest.fixture(scope="module")
def few(small_fashion: Dataset) -> Dataset:
    train = Split(small_fashion.train.images[:N], small_fashion.train.labels[:N])
    return Dataset(train, Split(small_fashion.test.images[:N], small_fashion.test.labels[:N]), "few")


def splits(dataset: Dataset) -> dict[str, Split]:
    return {"train": dataset.train, "test": dataset.test}


def write_mnist_c(folder: Path, dataset: Dataset) -> None:
    folder.mkdir(parents=True)
    for name, split in splits(dataset).items():
        np.save(folder / f"{name}_images.npy", split.images[..., None])
        np.save(folder / f"{name}_labels.npy", split.labels)


def write_fmnist_c(folder: Path, dataset: Dataset) -> None:
    folder.mkdir()
    for name, split in splits(dataset).items():
        np.save(folder / f"fmnist-c-{name}.npy", split.images)
        np.save(folder / f"fmnist-c-{name}-labels.npy", split.labels.astype(np.uint8))


def write_fmnist_c_ubyte(folder: Path, dataset: Dataset) -> None:
    folder.mkdir()
    for name, split in splits(dataset).items():
        for part, array in (("", split.images), ("-labels", split.labels.astype(np.uint8))):
            (folder / f"fmnist-c-{name}{part}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array)))


def write_qmnist(folder: Path, dataset: Dataset) -> None:
    folder.mkdir()
    for name, split in splits(dataset).items():
        (folder / f"qmnist-{name}-images-idx3-ubyte").write_bytes(idx_bytes(split.images))
        rows = np.zeros((N, 8), ">i4")
        rows[:, 0], rows[:, 1:] = split.labels, 7
        header = bytes((0, 0, 12, 2)) + struct.pack(">2I", N, 8)
        (folder / f"qmnist-{name}-labels-idx2-int.gz").write_bytes(gzip.compress(header + rows.tobytes()))


def write_medmnist(folder: Path, dataset: Dataset) -> None:
    (train, test), folder = splits(dataset).values(), folder.with_suffix(".npz")
    arrays: dict[str, Any] = {"train_images": train.images, "val_images": test.images, "test_images": test.images}
    labels = {"train_labels": train.labels, "val_labels": test.labels, "test_labels": test.labels}
    arrays |= {name: array.astype(np.uint8)[:, None] for name, array in labels.items()}
    np.savez(folder, **arrays)


def png(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_parquet(folder: Path, dataset: Dataset, name: str = "data/{}-00000-of-00001.parquet") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split_name, split in splits(dataset).items():
        rows = [{"bytes": png(image), "path": None} for image in split.images]
        table = pa.table({"image": rows, "label": split.labels})
        label = {"names": [f"class {k}" for k in range(10)], "_type": "ClassLabel"}
        described = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
        path = folder / name.format(split_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(described)}), path)


def write_converted_parquet(folder: Path, dataset: Dataset) -> None:
    write_parquet(folder, dataset, "{}/0000.parquet")


def write_pictures(folder: Path, dataset: Dataset) -> None:
    for name, split in splits(dataset).items():
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / name / f"class {label}" / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))


WRITERS: list[Callable[[Path, Dataset], None]] = [
    write_mnist_c, write_fmnist_c, write_fmnist_c_ubyte, write_qmnist, write_medmnist, write_parquet,
    write_converted_parquet, write_pictures,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_published_layout_is_read(
    write: Callable[[Path, Dataset], None], few: Dataset, tmp_path: Path, invoke: Invoke
) -> None:
    write(tmp_path / "set", few)
    path = tmp_path / ("set.npz" if write is write_medmnist else "set")
    dataset = load_dataset(path)
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (N, N, 10)
    if write is write_pictures:  # which come class by class
        for name, split in splits(few).items():
            order = np.argsort(split.labels, kind="stable")
            received = splits(dataset)[name]
            np.testing.assert_array_equal(received.labels, split.labels[order])
            np.testing.assert_array_equal(received.images, split.images[order])
    else:
        assert dataset.sha256 == few.sha256
    if "parquet" in write.__name__ or write is write_pictures:
        assert dataset.class_names == tuple(f"class {k}" for k in range(10))
    result = invoke("evaluate", "--pretrained", "mlp", "--data-dir", path, "--json")
    (measured,) = json.loads(result.stdout)["results"]
    assert measured["correct"] == ood.evaluate("mlp", "none", data=few)["none"].correct


def test_pictures_are_labelled_as_keras_labels_them(few: Dataset, tmp_path: Path) -> None:
    import keras

    write_pictures(tmp_path, few)
    theirs = keras.utils.image_dataset_from_directory(
        tmp_path / "test", color_mode="grayscale", image_size=(28, 28), shuffle=False, batch_size=N, verbose=False
    )
    images, labels = next(iter(theirs))
    alone = load_dataset(tmp_path / "test")
    assert (len(alone.train), alone.class_names) == (0, tuple(theirs.class_names))
    np.testing.assert_array_equal(alone.test.labels, labels)
    np.testing.assert_array_equal(alone.test.images, images[..., 0])


def test_a_test_set_alone_is_enough(few: Dataset, tmp_path: Path) -> None:
    write_mnist_c(tmp_path / "fog", few)
    for name in ("train_images", "train_labels"):
        (tmp_path / f"fog/{name}.npy").unlink()
    dataset = load_dataset(tmp_path / "fog")
    assert (len(dataset.train), len(dataset.test)) == (0, N)
    write_parquet(tmp_path / "hub", few)
    alone = load_dataset(tmp_path / "hub/data/test-00000-of-00001.parquet")
    assert (len(alone.train), alone.sha256["test images"]) == (0, few.sha256["test images"])


def colour(path: Path) -> None:
    Image.new("RGB", (28, 28), "red").save(path)


def large(path: Path) -> None:
    Image.new("L", (30, 28)).save(path)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("fog/test_images.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01"), "expected a readable .npy file. Rec"),
        ("fog/test_images.npy", lambda path: np.save(path, np.array([{}])), "expected a readable .npy file. Received"),
        ("fog/test_images.npy", lambda path: np.save(path, np.zeros((3, 28, 28, 3))), "Received: colour, (3, 28, 28, "),
        ("fog/test_labels.npy", lambda path: path.unlink(), "test_labels.npy: expected a readable .npy file. Received"),
        ("fog/train_images.npy", lambda path: path.unlink(), "train_images.npy: expected a readable .npy file. Rece"),
        ("fog/test_labels.npy", lambda path: np.save(path, np.zeros(3)), "expected integers (n,). Received: float64"),
        ("fog/test_labels.npy", lambda path: np.save(path, np.arange(9)), "expected a label for each of the 40 images"),
        ("hub/data/test-00000-of-00001.parquet", lambda path: path.write_bytes(b"PAR1"), "expected a Parquet file w"),
        ("hub/data/test-00000-of-00001.parquet", lambda path: path.unlink(), "hub: expected a Parquet file named test"),
        ("pictures/test/class 3/x.png", colour, "x.png: expected a grey picture. Received: one in colour. Convert"),
        ("pictures/test/class 3/x.png", large, "x.png: expected a picture of 28x28, as the first. Received: 30x28"),
        ("pictures/test/class 3/x.png", lambda path: path.write_bytes(b"GIF"), "x.png: expected a PNG or JPEG picture"),
        ("pictures/test/class 3", lambda path: path.rename(path.with_name("none")), "none: expected one of the"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named(
    file: str, damage: Callable[[Path], Any], message: str, few: Dataset, tmp_path: Path, invoke: Invoke
) -> None:
    folder = file.partition("/")[0]
    {"fog": write_mnist_c, "hub": write_parquet, "pictures": write_pictures}[folder](tmp_path / folder, few)
    damage(tmp_path / file)
    result = invoke("data", "--data-dir", folder)
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_large_files_and_a_missing_package(few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "hub", few)
    write_pictures(tmp_path / "pictures", few)
    monkeypatch.setattr(layouts, "MAX_UNPACKED", 10_000)
    with pytest.raises(DataError, match=r"bytes unpacked, more than 10,000"):
        load_dataset(tmp_path / "hub")
    with pytest.raises(DataError, match=r"expected pictures of 10,000 pixels at most in all\. Received: more"):
        load_dataset(tmp_path / "pictures")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"expected the package pyarrow, .*pip install 'ood-fashion\[parquet\]'"):
        load_dataset(tmp_path / "hub")


def test_published_sets_are_swept(few: Dataset, tmp_path: Path, invoke: Invoke) -> None:
    shifts = {"brightness": "brightness:3", "fog": "fog:5", "identity": "none"}
    for name, shift in shifts.items():
        images = np.rint(ood.shift_images(few.test.images, shift) * 255).astype(np.uint8)
        write_mnist_c(tmp_path / "sets" / name, Dataset(few.train, Split(images, few.test.labels), name))
    result = ood.sweep_published(tmp_path / "sets", ["mlp", "cnn3"], reference="cnn3")
    errors: dict[str, list[float]] = {}
    for row in result:
        expected = ood.evaluate(row.model, shifts[row.corruption], data=few)[shifts[row.corruption]]
        assert abs(row.correct - expected.correct) <= 1  # 8 bits round the images
        assert row.ci95[0] <= row.accuracy <= row.ci95[1]
        if row.corruption != "identity":
            errors.setdefault(row.model, []).append(1 - row.accuracy)
    of_mlp, of_cnn3 = result.summaries
    assert of_cnn3.mce == 1
    assert of_mlp.mce == pytest.approx(np.mean(np.divide(errors["mlp"], errors["cnn3"])))
    assert of_mlp.in_domain == ood.evaluate("mlp", "none", data=few)["none"].accuracy
    assert of_mlp.mean == pytest.approx(1 - np.mean(errors["mlp"]))
    (tmp_path / "sets/identity").rename(tmp_path / "sets/none")  # as `data --export` names it
    assert ood.sweep_published(tmp_path / "sets", ["mlp", "cnn3"], reference="cnn3").summaries == [of_mlp, of_cnn3]
    shown = invoke("sweep", "published", "sets", "--pretrained", "mlp", "--limit", 20)
    assert shown.exit_code == 0, shown.output
    assert "Accuracy of mlp\n\ncorruption " in shown.stdout
    assert "mCE: errors as multiples of those of mlp, which so has 1." in shown.stdout
    record = json.loads(invoke("sweep", "published", "sets/fog", "--pretrained", "mlp", "--json").stdout)
    assert [(one["corruption"], one["n"]) for one in record["results"]] == [("fog", N)]
    assert result.plot().axes
    with pytest.raises(InvalidValueError, match=r"`reference`: expected one of mlp, each named once\. Received: 'x'"):
        ood.sweep_published(tmp_path / "sets", "mlp", reference="x")
    (tmp_path / "sets/empty").mkdir()
    failed = invoke("sweep", "published", "sets", "--pretrained", "mlp")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "sets/empty: expected train-images-idx3-ubyte" in failed.stderr
