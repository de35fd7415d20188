"""The public API: what `import ood_fashion as ood` gives."""

from __future__ import annotations

import ast
import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DataError, InvalidValueError, PixelRangeWarning
from ood_fashion.shifts.shift import TEST_SETS
from tests.conftest import Invoke

FUNCTIONS = [name for name in ood.__all__ if name != "__version__" and callable(getattr(ood, name))]
DOCS = Path(__file__).parents[1] / "docs"


def test_importing_loads_nothing_heavy() -> None:
    heavy = ("tensorflow", "keras", "matplotlib", "scipy", "numpy", "click")
    code = f"import sys, ood_fashion; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_resolves_and_is_completed() -> None:
    assert set(ood.__all__) <= set(dir(ood))
    stub = ast.parse((Path(ood.__file__).with_suffix(".pyi")).read_text())
    imported = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(ood.__all__)


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if name not in ("reproduce", "app")]
)  # app: tests/test_app.py
def test_examples_run(name: str, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of each docstring gives what it says; trainings and sweeps take the first images for all."""
    monkeypatch.chdir(tmp_path)
    if name in ("train", "study", "sweep"):
        monkeypatch.setenv("OOD_FASHION_DATA", str(small_folder))
    found = doctest.DocTestFinder(recurse=False).find(getattr(ood, name), name, globs={"folder": tmp_path})
    assert [test.name for test in found if test.examples] == [name]
    lines: list[str] = []
    for test in found:
        doctest.DocTestRunner().run(test, out=lines.append)
    assert not lines, "".join(lines)


def test_commands_parse_call_and_show() -> None:
    """No command's body has more than 15 statements, docstring and imports left out."""
    bodies = {}
    for path in (Path(ood.__file__).parent / "cli").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and "command" in "".join(map(ast.dump, node.decorator_list)):
                inner = [n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node]
                left_out = (ast.Import, ast.ImportFrom, ast.FunctionDef)
                bodies[node.name] = sum(not isinstance(n, left_out) for n in inner) - 1
    assert len(bodies) > 10
    assert {name: count for name, count in bodies.items() if count > 15} == {}


def test_every_name_is_in_the_docs() -> None:
    text = (DOCS / "api.md").read_text()
    assert [name for name in ood.__all__ if f"`{name}" not in text] == []


def test_arrays_as_keras_gives_them(small_fashion: Dataset) -> None:
    (x, y), (x_test, y_test) = small_fashion.train, small_fashion.test
    whole = ood.load_dataset(((x, y.astype("uint8")[:, None]), (x_test[..., None] / 255, y_test.astype("int32"))))
    assert whole.sha256 == small_fashion.sha256
    named = ood.load_dataset((x, y), (x_test, y_test), class_names=list("abcdefghij"))
    assert (named.sha256, named.class_names) == (small_fashion.sha256, tuple("abcdefghij"))
    assert ood.load_dataset(named, class_names="ABCDEFGHIJ").class_names == tuple("ABCDEFGHIJ")
    with pytest.raises(DataError, match=r"`class_names`: expected 10 or more, a name for each class\. Received: 2"):
        ood.load_dataset((x, y), (x_test, y_test), class_names=["a", "b"])
    with pytest.raises(DataError, match=r"`source`: expected \(x_train, y_train\), \(x_test, y_test\)"):
        ood.load_dataset((x, y, x))


@pytest.fixture(scope="module")
def epochs_seen() -> list[int]:
    """The epochs whose ends a callback of `run` saw."""
    return []


@pytest.fixture(scope="module")
def run(small_fashion: Dataset, epochs_seen: list[int], tmp_path_factory: pytest.TempPathFactory) -> ood.Run:
    import keras

    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs_seen.append(epoch))
    sizes: dict[str, Any] = {"train_size": 400, "val_size": 100, "epochs": 2, "seed": 3}
    out = tmp_path_factory.mktemp("api") / "run"
    return ood.train("mlp", small_fashion, out=out, callbacks=[callback], verbose=False, **sizes)


def test_callbacks_are_called(run: ood.Run, epochs_seen: list[int]) -> None:
    assert epochs_seen == [row["epoch"] - 1 for row in run.history] == [0, 1]


def test_a_run_has_what_was_trained(run: ood.Run, small_fashion: Dataset) -> None:
    assert run.config == ood.TrainConfig(model="mlp", train_size=400, val_size=100, epochs=2, seed=3)
    assert [row["epoch"] for row in run.history] == [1, 2]
    images = small_fashion.test.images[..., None] / np.float32(255)
    classes = run.model.predict(images, verbose=0).argmax(axis=1)
    assert run.results["none"].correct == int(np.sum(classes == small_fashion.test.labels))
    assert [row.shift for row in run.results] == list(TEST_SETS)
    assert ood.load_run(run.path).config == run.config
    assert list(ood.evaluate(run)) == list(ood.evaluate(run.path, data=small_fashion))


def test_one_evaluate_for_all(run: ood.Run, small_fashion: Dataset) -> None:
    """A run, its folder, its model and its model as a function are measured alike."""
    shifts = ["none", "up4", "fog:3"]

    def predict(images: Any) -> Any:
        return run.model.predict(images[..., None], verbose=0)

    given = [run, run.path, str(run.path), run.model, run.model_path, predict]
    results = [ood.evaluate(model, shifts, data=small_fashion, metrics="all") for model in given]
    for result in results:
        assert [(row.shift, row.correct, round(row.nll, 4)) for row in result] == [
            (row.shift, row.correct, round(row.nll, 4)) for row in results[0]
        ]
    assert results[0].model == "mlp"
    seen: list[int] = []

    def watch(images: Any) -> Any:
        seen.append(len(images))
        return predict(images)

    ood.evaluate([watch], "none", data=small_fashion, batch_size=50)
    assert seen == [50] * 4


def test_results_are_shown_in_every_form(run: ood.Run, small_fashion: Dataset) -> None:
    result = ood.evaluate(run, data=small_fashion)
    record = json.loads(result.to_json())
    assert [row["correct"] for row in record["results"]] == [row.correct for row in result]
    frame = result.to_pandas()
    assert list(frame["shift"]) == list(TEST_SETS)
    assert str(result) == repr(result)
    assert result._repr_html_().count("<tr>") == 1 + len(result)
    assert result.plot().axes[0].get_xticklabels()[0].get_text() == "in-domain"


def test_a_scikit_learn_model_takes_rows(small_fashion: Dataset) -> None:
    rows = small_fashion.train.images.reshape(-1, 784) / np.float32(255)
    classifier = KNeighborsClassifier(3).fit(rows[:300], small_fashion.train.labels[:300])
    test = small_fashion.test
    expected = classifier.score(test.images.reshape(-1, 784) / np.float32(255), test.labels)
    assert ood.evaluate(classifier.predict_proba, "none", data=small_fashion)["none"].accuracy == expected
    assert ood.evaluate(classifier.predict, "none", data=small_fashion)["none"].accuracy == expected
    with pytest.raises(InvalidValueError, match=r"`model`: expected a run, a Keras model, .* Received: KNeighbors"):
        ood.evaluate(classifier, "none", data=small_fashion)


def test_the_pixels_of_a_model_in_memory(small_fashion: Dataset, tmp_path: Path) -> None:
    """Told that it takes 0-255, also after it was measured without a word, it is as accurate as from a file."""
    net = [keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential(net)
    weights = np.random.default_rng(0).normal(size=(784, 10))
    model.set_weights([weights, np.arange(10.0)])
    model.save(tmp_path / "model.keras")
    expected = np.argmax(small_fashion.test.images.reshape(-1, 784) / 255 @ weights + np.arange(10), axis=1)
    accuracy = np.mean(expected == small_fashion.test.labels)
    with pytest.warns(PixelRangeWarning):
        assert ood.evaluate(model, "none", data=small_fashion)["none"].accuracy != accuracy
    for one in (model, tmp_path / "model.keras"):
        told: dict[str, Any] = {"data": small_fashion, "pixel_range": "0-255"}
        assert ood.evaluate(one, "none", **told)["none"].accuracy == accuracy
        assert ood.compare(one, model, "none", **told).comparisons[0].accuracy_a == accuracy
    with pytest.raises(InvalidValueError, match="`pixel_range`: expected a Keras model or a path"):
        ood.evaluate(model.predict, "none", data=small_fashion, pixel_range="0-255")


def test_comparing_models_of_any_kind(run: ood.Run, small_fashion: Dataset) -> None:
    zeros = np.zeros(10)
    result = ood.compare(run, lambda images: np.tile(zeros, (len(images), 1)), ["none", "up4"], data=small_fashion)
    assert [row.accuracy_a for row in result] == [row.accuracy for row in list(run.results)[:2]]
    assert [row.accuracy_b for row in result] == [float(np.mean(small_fashion.test.labels == 0))] * 2
    assert "A is more accurate under none, up4." in str(result)
    assert len(result.plot().axes[0].lines) == 5


def test_a_study_of_ones_own_is_resumed_and_reported(small_fashion: Dataset, tmp_path: Path) -> None:
    """From arrays, which each worker reads from the study's folder."""
    study = ood.Study({"one": {"model": "mlp", "epochs": 1}}, title="Epochs")
    sizes: dict[str, Any] = {"train_size": 200, "val_size": 100}
    data = ood.load_dataset(tuple(small_fashion.train), tuple(small_fashion.test))
    first = ood.study(study, seeds=1, data=data, out=tmp_path / "s", jobs=1, **sizes)
    more = ood.study(study, seeds=2, data=data, out=tmp_path / "s", jobs=1, resume=True, **sizes)
    assert [(row.setting, row.seeds) for row in more] == [("one", 2)]
    assert (
        first.record["settings"][0]["measures"]["loss"]["values"][0]
        in (more.record["settings"][0]["measures"]["loss"]["values"])
    )
    assert str(more).startswith("Epochs\n")
    assert more.plot().axes
    assert ood.report(tmp_path / "s").path.is_file()
    with pytest.raises(
        InvalidValueError, match=r"`settings`: expected labels that can name a folder\. Received: 'a/b'"
    ):
        ood.Study({"a/b": {}})
    with pytest.raises(InvalidValueError, match="unknown setting: 'modell'"):
        ood.Study({"a": {"modell": "mlp"}})


def test_a_sweep_as_on_the_command_line(run: ood.Run, small_folder: Path, tmp_path: Path, invoke: Invoke) -> None:
    result = ood.sweep(run, "rotate", 90, data=small_folder, out=tmp_path / "api")
    arguments = ("sweep", "rotate", "--step", 90, "--run", run.path, "--data-dir", small_folder, "--quiet", "--json")
    done = invoke(*arguments, "--out", tmp_path / "cli")
    assert done.exit_code == 0, done.stderr
    assert {**json.loads(done.stdout), "folder": ""} == {**json.loads(result.to_json()), "folder": ""}
    assert result.plot().axes
    shown = ood.sweep(run, "rotate", 90, data=small_folder, out=tmp_path / "tta", tta="c4")
    evaluated = ood.evaluate(run, ["none", "rotate90"], data=small_folder, tta="c4")
    assert [row.correct for row in shown][:2] == [row.correct for row in evaluated]
    with pytest.raises(InvalidValueError, match="Save it first"):
        ood.sweep(run.model, data=small_folder)


def test_arrays_with_names_reach_every_process(
    small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names are in each training's record, and labels that were corrected are those that count."""
    monkeypatch.chdir(tmp_path)
    test, names = small_fashion.test, [*"abcdefghij", "of which there is none"]
    data = ood.load_dataset(tuple(small_fashion.train), tuple(test), class_names=names)
    sizes: dict[str, Any] = {"epochs": 1, "train_size": 100, "val_size": 50}
    summary = ood.study(ood.Study({"one": {"model": "mlp"}}), seeds=1, jobs=1, data=data, out="s", **sizes)
    assert not summary.failures
    trained = ood.load_run(Path("s/trials/one-s1"))
    assert trained.class_names == tuple(names)
    for labels in (test.labels, (test.labels + 1) % 10):
        corrected = ood.load_dataset(tuple(small_fashion.train), (test.images, labels), class_names=names)
        (row,) = ood.sweep(trained, "rotate", 360, data=corrected)
        assert row.correct == ood.evaluate(trained.path, "none", data=corrected)["none"].correct
    made = ood.Dataset(data.train, data.test, "mine", tuple(names)).with_test_images(50)
    (row,) = ood.sweep(trained, "rotate", 360, data=made)
    assert row.correct == ood.evaluate(trained.path, "none", data=made)["none"].correct
    # What was trained in this process is measured and shown on its own data.
    run = ood.train("mlp", data, out=tmp_path / "run", verbose=False, **sizes)
    (row,) = ood.sweep(run, "rotate", 360)
    assert row.correct == run.results["none"].correct
    assert "of which there is none" in ood.report(run).path.read_text()


def test_a_pretrained_model_is_reported_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_figures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ood.report("mlp").path == Path("mlp.html")
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.html"]


def test_images_to_predict_are_arrays_of_any_form(small_fashion: Dataset) -> None:
    images = small_fashion.test.images[:20]
    expected = [row.class_name for row in ood.predict(images, "cnn3")]
    for form in (images[..., None], images / 255, ood.shift_images(images, "rotate:1e-9"), images.astype(int)):
        assert [row.class_name for row in ood.predict(form, "cnn3")] == expected
    assert [row.class_name for row in ood.predict(images[3], "cnn3")] == expected[3:4]
    for faulty, message in (
        (images[:0], "`images`: expected one or more. Received: none"),
        (images[0, 0], r"`images`: expected grey images \(n, height, width\). Received: \(28,\)"),
        (images / 255 + 0.01, "`images`: expected integers in 0-255, or the same divided by 255"),
    ):
        with pytest.raises(DataError, match=message):
            ood.predict(faulty, "cnn3")


def test_what_is_wrong_names_the_argument(tmp_path: Path) -> None:
    for call, message in (
        (lambda: ood.train("cnn9"), "`model`: expected one of mlp"),
        (lambda: ood.train("mlp", protocol="none"), "`protocol`: expected one of assignment, full, augmented, robust"),
        (lambda: ood.train("mlp", epoch=3), "unknown setting: 'epoch'"),
        (lambda: ood.pretrained("vgg"), "`name`: expected one of cnn2"),
        (lambda: ood.evaluate("cnn3", metrics="f1"), "`metrics`: expected one of accuracy, all. Received: 'f1'"),
        (lambda: ood.sweep("cnn3", "shear"), "`kind`: expected one of translate, rotate, corruptions"),
        (lambda: ood.study("nothing", out=tmp_path / "s"), "`study`: expected one of batch-size"),
        (lambda: ood.study("momentum", out=tmp_path / "t", epoch=1), "changes: expected implementation, epochs"),
        (lambda: ood.count_parameters("x"), "`model`: expected one of mlp"),
        (lambda: ood.shift_images(np.zeros((2, 2)), "up"), "shift 'up': unknown"),
        (lambda: ood.shifted_dataset(split="val"), "`split`: expected one of train, test. Received: 'val'"),
        (lambda: ood.evaluate(["mlp", "cnn3"], tta="c4"), "`tta`, `calibrate`: expected one model. Received: a list"),
        (lambda: ood.evaluate(["mlp"], metrics="all"), "`metrics` all, `tta`, `calibrate`: expected one model."),
        (lambda: ood.evaluate([]), "`model`: expected one or more. Received: none"),
        (lambda: ood.evaluate("mlp", []), "`shifts`: expected one or more. Received: none"),
        (lambda: ood.compare("mlp", []), "`b`: expected one or more. Received: none"),
        (lambda: ood.sweep([]), "`models`: expected one or more. Received: none"),
        (lambda: ood.evaluate("mlp", limit=0), "`limit`: expected a number of images, 1 or more. Received: 0"),
        (lambda: ood.compare("mlp", "cnn3", limit=-1), "`limit`: expected a number of images, 1 or more. Received: -1"),
        (lambda: ood.sweep("mlp", "translate", 2.5), "`extent`: expected a whole number from 0 to 100. Received: 2.5"),
        (lambda: ood.sweep("mlp", "corruptions", "smog"), "smog"),
        (lambda: ood.Explorer(images=0), "`images`: expected a number of images, 1 or more. Received: 0"),
        (lambda: ood.predict(np.zeros((1, 28, 28)), lambda images: images), "`model`: expected a Keras model."),
        (lambda: ood.train("mlp", augment="mirror"), "`augment`: expected a list of texts. Received: 'mirror'"),
        (lambda: ood.train("mlp", augment=None), "`augment`: expected a list of texts. Received: None"),
        (lambda: ood.Study({"a": {}}, measures=["val_loss"]), "`measures`: expected of accuracy none, .* 'val_loss'"),
        (lambda: ood.Study({"a": {}}, lowest="val_loss"), "`lowest`: expected of .*, seconds. Received: 'val_loss'"),
        (lambda: ood.Study({"a b": {}, "a-b": {}}), "`settings`: expected labels that name a folder each."),
    ):  # fmt: skip
        with pytest.raises(InvalidValueError, match=message.replace("(", r"\(")):
            call()
    assert list(tmp_path.iterdir()) == []
