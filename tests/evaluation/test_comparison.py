from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.shell_completion import ShellComplete

from ood_fashion.cli import main
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import InvalidValueError, RunError
from ood_fashion.evaluation.comparison import compare, conclude
from ood_fashion.evaluation.metrics import Predictions
from ood_fashion.evaluation.stats import compare_paired, compare_unpaired
from ood_fashion.reports.study_tables import comparison_tables
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.search import expand, pretrained_runs
from ood_fashion.runs.start import start_run
from ood_fashion.training.keras_trainer import train
from tests.conftest import Invoke


def correct(**counts: int) -> dict[str, np.ndarray]:
    """The first so many of 100 images are recognised under each shift."""
    return {shift: np.arange(100) < count for shift, count in counts.items()}


def test_one_training_a_side_is_compared_image_by_image() -> None:
    a, b = correct(none=90, up4=50), correct(none=88, up4=20)
    first, second = compare([a], [b])
    assert (first.accuracy_a, first.accuracy_b, second.accuracy_b) == (0.9, 0.88, 0.2)
    for one, shift in ((first, "none"), (second, "up4")):
        assert one.shift == shift
        assert one.test == replace(compare_paired(a[shift], b[shift]), p_holm=one.test.p_holm)
    assert (first.test.p, first.test.p_holm) == (0.5, 0.5)
    assert second.test.p_holm == pytest.approx(2 * second.test.p)
    keys = "shift accuracy_a accuracy_b n only_a only_b difference interval p p_holm"
    assert list(first.to_json()) == keys.split()
    text = conclude([first, second], "A", "B")
    assert text.startswith("A is more accurate under up4. Nothing may be concluded about none")
    assert "Compare several runs" in text
    assert conclude(compare([b], [a]), "A", "B").startswith("B is more accurate under up4.")


def test_several_trainings_a_side_are_compared_over_seeds() -> None:
    side_a, side_b = [correct(none=n) for n in (90, 92, 91)], [correct(none=n) for n in (80, 83)]
    (one,) = compare(side_a, side_b)
    expected = compare_unpaired([0.9, 0.92, 0.91], [0.8, 0.83])
    assert one.test.p == pytest.approx(expected.p)
    assert one.runs_a is not None
    assert one.runs_b is not None
    assert one.runs_a.runs == 3
    assert one.runs_b.accuracy == pytest.approx(0.815)
    assert one.runs_b.seeds.sd == pytest.approx(0.015 * 2**0.5)
    keys = "shift accuracy_a accuracy_b n_a n_b difference interval p runs_a runs_b p_holm"
    assert list(one.to_json()) == keys.split()
    text = "\n".join(map(str, comparison_tables([one], "a-s*", "b-s*")))
    assert "A by itself" in text
    assert re.search(r"none \(in-domain\) +0\.8150 +0\.0212 ", text)
    assert "trainings like these 3 and 2" in conclude([one], "A", "B")
    with pytest.raises(InvalidValueError, match="one training a side, or several on both"):
        compare(side_a[:1], side_b)


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a-s2", "a-s1", "b-s1"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert expand("a-s*") == [Path("a-s1"), Path("a-s2")]
    assert expand(str(tmp_path / "b*")) == [tmp_path / "b-s1"]
    assert expand("b-s1") == [Path("b-s1")]
    # What is there is no pattern, whatever its name.
    (tmp_path / "b[1]/c[2]").mkdir(parents=True)
    (tmp_path / "b1").mkdir()
    assert expand("b[1]") == [Path("b[1]")]
    assert expand("b[1]/c*") == expand("b[1]/c[[]2]") == [Path("b[1]/c[2]")]
    assert expand(str(tmp_path / "b[1]/c[2]")) == [tmp_path / "b[1]/c[2]"]
    assert expand("[b]1") == [Path("b1")]
    # Python 3.13 takes ** for * there.
    with pytest.raises(RunError, match=r"\Ac/\*\*a: expected [^\n]* Received: (Invalid pattern|nothing there)"):
        expand("c/**a")
    with pytest.raises(RunError, match="Received: File name too long"):
        expand("a" * 300)


@pytest.fixture(scope="module")
def two_runs(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small complete runs, a and b."""
    folder = tmp_path_factory.mktemp("compare")
    dataset = load_dataset(small_folder)
    for name, epochs in (("a", 1), ("b", 4)):
        config = TrainConfig(model="mlp", train_size=400, val_size=100, epochs=epochs, engine="stock")
        train(start_run(folder / name, config, dataset, "cpu"), dataset)
    return folder


def test_compare(invoke: Invoke, two_runs: Path, small_folder: Path) -> None:
    def run(*arguments: Any) -> dict[str, Any]:
        result = invoke("compare", *arguments, "--data-dir", small_folder, "--json")
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    document = run(two_runs / "a", two_runs / "b")
    metrics = [Run.open(two_runs / name).read_metrics()["results"] for name in ("a", "b")]
    for record, of_a, of_b in zip(document["results"], *metrics, strict=True):
        assert (record["shift"], record["accuracy_a"], record["accuracy_b"]) == (
            of_a["shift"], of_a["accuracy"], of_b["accuracy"],
        )  # fmt: skip
    files = [two_runs / name / "model.keras" for name in ("a", "b")]
    assert run(*files, "--shift", "up4")["results"][0]["difference"] == document["results"][1]["difference"]
    text = invoke("compare", two_runs / "a", two_runs / "b", "--data-dir", small_folder).stdout
    assert "p (Holm)" in text
    assert document["conclusion"] in text


def test_several_runs_are_evaluated_together(invoke: Invoke, two_runs: Path, small_folder: Path) -> None:
    arguments = ("evaluate", "--run", two_runs / "[ab]", "--all", "--data-dir", small_folder)
    document = json.loads(invoke(*arguments, "--json").stdout)
    metrics = [Run.open(two_runs / name).read_metrics()["results"] for name in ("a", "b")]
    assert document["runs"] == [str(two_runs / name) for name in ("a", "b")]
    for record, *of in zip(document["results"], *metrics, strict=True):
        accuracies = [one["accuracy"] for one in of]
        assert (record["shift"], record["runs"], record["n"]) == (of[0]["shift"], 2, 200)
        assert record["accuracy"] == pytest.approx(np.mean(accuracies))
        assert record["seeds"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    literal = two_runs / "a[b]"  # no pattern, since it is there
    shutil.copytree(two_runs / "a", literal)
    one = invoke("evaluate", "--run", literal, "--tta", "c4", "--data-dir", small_folder, "--json")
    assert json.loads(one.stdout)["model"] == "mlp"
    shutil.rmtree(literal)
    text = invoke(*arguments).stdout
    assert "sd over seeds" in text
    assert "Means of 2 trainings on 200 images." in text
    refused = invoke(*arguments, "--tta", "c4")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_compare_reads_saved_predictions_without_tensorflow(two_runs: Path, small_folder: Path) -> None:
    program = (
        "import sys; from ood_fashion.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "print('tensorflow' in sys.modules, file=sys.stderr)"
    )
    arguments = ["compare", "a", "b", "--data-dir", str(small_folder)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=two_runs, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "False"


def test_what_cannot_be_compared_is_one_line(
    invoke: Invoke, two_runs: Path, small_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(two_runs / "a", tmp_path / "unfinished")
    (tmp_path / "unfinished/metrics.json").unlink()
    cut = Run(shutil.copytree(two_runs / "a", tmp_path / "cut"))
    cut.write_predictions(
        {shift: Predictions(p.classes[:1], p.confidences[:1]) for shift, p in cut.read_predictions().items()}
    )
    for a, b, data, message in (
        (
            two_runs / "a",
            "absent",
            small_folder,
            "absent: expected a run folder, a .keras file, a pattern, or one of cnn2",
        ),
        (two_runs / "a", tmp_path / "unfinished", small_folder, "expected a complete run"),
        (two_runs / "a", two_runs / "*", small_folder, "one training a side, or several on both. Received: 1 and 2"),
        (two_runs / "a", tmp_path / "cut", small_folder, "a class for each of the 200 test images. Received: (1,)"),
    ):
        result = invoke("compare", a, b, "--data-dir", data)
        assert result.exit_code in (1, 2)
        assert result.stderr.count("\n") == 1
        assert message in result.stderr
    assert "expected the dataset that the run began on" in invoke("compare", two_runs / "a", two_runs / "b").stderr


@pytest.mark.parametrize("command", ["evaluate --run runs/* --shift rotate:3", "compare runs/a runs/b --shift fog:1"])
def test_models_are_loaded_onto_the_device_that_was_asked_for(
    invoke: Invoke, two_runs: Path, small_folder: Path, command: str
) -> None:
    Path("runs").symlink_to(two_runs)
    arguments = (*command.split(), "--data-dir", small_folder, "--device")
    refused = invoke(*arguments, "gpu")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "--device gpu: expected a GPU that TensorFlow sees" in refused.stderr
    assert invoke(*arguments, "cpu").exit_code == 0


def test_several_runs_on_the_first_images(invoke: Invoke, two_runs: Path, small_folder: Path) -> None:
    arguments = ("evaluate", "--run", two_runs / "[ab]", "--limit", 30, "--data-dir", small_folder, "--json")
    (record,) = json.loads(invoke(*arguments).stdout)["results"]
    labels = load_dataset(small_folder).test.labels[:30]
    answers = [Run.open(two_runs / name).read_predictions()["none"].classes[:30] for name in ("a", "b")]
    assert (record["n"], record["accuracy"]) == (30, pytest.approx(np.mean([labels == given for given in answers])))


def test_compare_completes_models_and_paths() -> None:
    """As bash asks, which adds the files to what it is given when the first completion is a file."""
    command = main.commands["compare"]
    completer = ShellComplete(main, {}, "ood-fashion", "_OOD_FASHION_COMPLETE")
    for incomplete, names in (("", list(pretrained_runs())), ("cnn3", ["cnn3", "cnn3-full"]), ("runs/", [])):
        for given in ([], ["mlp"]):
            found = completer.get_completions([str(command.name), *given], incomplete)
            assert [(item.type, item.value) for item in found] == [
                ("file", incomplete), *(("plain", name) for name in names),
            ]  # fmt: skip
