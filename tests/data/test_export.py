from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.data.export import FORMATS, export
from ood_fashion.data.sources import load_idx_folder, load_npz
from ood_fashion.errors import ExportError, InvalidValueError
from ood_fashion.shifts.shift import Shift, file_name
from tests.conftest import Invoke

SHIFTS = [Shift.parse(text) for text in ("up4", "translate:0.5,-1+fog:3,4")]


def expected(split: Split, shift: Shift) -> np.ndarray:
    return np.rint(shift.apply(split.images) * 255).astype(np.uint8)


def test_a_format_that_there_is_not_is_refused(small_fashion: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"`file_format`: expected one of npz, idx, tfds\. Received: 'csv'"):
        export(small_fashion, SHIFTS, tmp_path / "out", "csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_npz_holds_the_shifted_pixels(small_fashion: Dataset, tmp_path: Path, shift: Shift) -> None:
    export(small_fashion, [shift], tmp_path / "out", "npz")
    with np.load(tmp_path / "out" / f"{file_name(shift)}.npz") as arrays:
        for name, split in (("train", small_fashion.train), ("test", small_fashion.test)):
            np.testing.assert_array_equal(arrays[f"x_{name}"], expected(split, shift))
            np.testing.assert_array_equal(arrays[f"y_{name}"], split.labels)
            assert arrays[f"x_{name}"].dtype == arrays[f"y_{name}"].dtype == np.uint8


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_idx_is_read_back(small_fashion: Dataset, tmp_path: Path, shift: Shift) -> None:
    export(small_fashion, [shift], tmp_path / "out", "idx")
    received = load_idx_folder(tmp_path / "out" / file_name(shift), "exported")
    for ours, theirs in ((small_fashion.train, received.train), (small_fashion.test, received.test)):
        np.testing.assert_array_equal(theirs.images, expected(ours, shift))
        np.testing.assert_array_equal(theirs.labels, ours.labels)


def test_a_test_set_alone_and_many_classes_are_read_back(small_fashion: Dataset, tmp_path: Path) -> None:
    test = Split(small_fashion.test.images, np.arange(100, 300))
    for name, train in (("many", test), ("alone", Split(test.images[:0], test.labels[:0]))):
        dataset = Dataset(train, test, name)
        export(dataset, [Shift()], tmp_path / name, "npz")
        assert load_npz(tmp_path / name / "none.npz").sha256 == dataset.sha256
        with pytest.raises(ExportError, match="idx: expected a training set, and 256 classes at most"):
            export(dataset, [Shift()], tmp_path / "idx", "idx")
        assert not (tmp_path / "idx").exists()
        export(dataset, [Shift()], tmp_path / f"{name}-tfds", "tfds")
        builder = tfds.builder("ood_fashion/none", data_dir=tmp_path / f"{name}-tfds")
        assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
            split: len(of) for split, of in (("train", train), ("test", test)) if len(of)
        }
    assert Dataset(test, test, "").sha256 != Dataset(test, Split(test.images, test.labels % 256), "").sha256


def test_the_same_content_makes_the_same_files(small_fashion: Dataset, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        export(small_fashion, SHIFTS, tmp_path / name, "idx")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        assert len(files) == 10
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("genuine", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")
def test_croissant_metadata_are_read_by_its_validator(
    small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str, genuine: bool
) -> None:
    import mlcroissant

    monkeypatch.setattr(Dataset, "is_genuine", genuine)
    export(small_fashion, SHIFTS, tmp_path / "out", file_format)
    metadata = mlcroissant.Dataset(tmp_path / "out/croissant.json").metadata  # raises where one is invalid
    if genuine:
        assert metadata.issues.report() == ""
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "croissant.json"]
    described = {one.content_url: one for one in metadata.distribution}
    assert set(described) == {str(path.relative_to(tmp_path / "out")) for path in files}
    for path in files:
        one = described[str(path.relative_to(tmp_path / "out"))]
        assert one.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert one.content_size == f"{path.stat().st_size} B"
    about = {one.description for name, one in described.items() if name.startswith(("up4", "ood_fashion/up4"))}
    assert about == {"Under the shift up4."}


def test_from_the_command_line(invoke: Invoke, small_folder: Path) -> None:
    arguments = (
        "data",
        "--data-dir",
        small_folder,
        "--shift",
        "up4",
        "--shift",
        "fog:3,4",
        "--shift",
        "translate:0,-4",
    )
    result = invoke(*arguments, "--export", "new/folder", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)["export"]
    assert record["shifts"] == {"up4": "up4", "fog-3_4": "fog:3,4"}
    assert json.loads(Path("new/folder/dataset.json").read_text()).items() <= record.items()
    written = sorted(path.name for path in Path("new/folder").iterdir())
    assert written == ["croissant.json", "dataset.json", "fog-3_4.npz", "up4.npz"]
    assert "Written: other, as idx: up4, fog-3_4" in invoke(*arguments, "--export", "other", "--format", "idx").stdout


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_is_there_already_is_left_alone(invoke: Invoke, small_folder: Path, kind: str) -> None:
    there = Path("there")
    if kind == "folder":
        there.mkdir()
    elif kind == "file":
        there.write_text("precious")
    else:
        there.symlink_to("nowhere")
    result = invoke("data", "--data-dir", small_folder, "--export", "there")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: there: expected nothing there. Choose another folder, or delete it.\n"
    assert [path.name for path in Path().iterdir()] == ["there"]


def test_a_folder_that_cannot_be_written(invoke: Invoke, small_folder: Path) -> None:
    result = invoke("data", "--data-dir", small_folder, "--export", "/proc/out")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /proc/out: expected a folder to write to. Received: ")


@pytest.mark.parametrize("file_format", FORMATS)
def test_when_the_file_system_is_full_nothing_is_left(small_folder: Path, tmp_path: Path, file_format: str) -> None:
    """No file may grow beyond 50 kB in that process; writing more fails as it does on a full disk."""
    # Keras may have set this one in our own process.
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "ood_fashion", "data", "--data-dir", str(small_folder), "--export", "out"]
    result = subprocess.run(
        [*command, "--format", file_format],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "expected to be able to write it. Received: " in result.stderr
    assert os.strerror(errno.EFBIG) in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "left", [{}, {".tmp-1-dataset.json": ""}, {"dataset.json": '{"ood_fashion": "0"}', "a.npz": ""}]
)
def test_what_a_killed_export_has_left_is_replaced(
    small_fashion: Dataset, tmp_path: Path, left: dict[str, str]
) -> None:
    (tmp_path / ".tmp-out").mkdir()
    for name, content in left.items():
        (tmp_path / ".tmp-out" / name).write_text(content)
    export(small_fashion, SHIFTS[:1], tmp_path / "out", "npz")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["croissant.json", "dataset.json", "up4.npz"]


@pytest.mark.parametrize("name", ["precious", ".tmp-notes", "dataset.json"])
def test_a_folder_that_no_export_has_left_is_left_alone(small_fashion: Dataset, tmp_path: Path, name: str) -> None:
    (tmp_path / ".tmp-out").mkdir()
    (tmp_path / ".tmp-out" / name).write_text("{}")
    with pytest.raises(ExportError, match=r"out: expected nothing at \.tmp-out .*Received: other files"):
        export(small_fashion, SHIFTS, tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [".tmp-out", f".tmp-out/{name}"]


def test_an_interrupt_leaves_nothing(small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(dataset: Dataset, shift: Shift, folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "npz", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(small_fashion, SHIFTS, tmp_path / "out", "npz")
    assert list(tmp_path.iterdir()) == []


def test_the_error_is_the_programs_own(small_fashion: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        export(small_fashion, SHIFTS, tmp_path)
