from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import DataError, DivergenceError, RunError
from ood_fashion.evaluation.metrics import measure_accuracy, predictions
from ood_fashion.runs import search
from ood_fashion.runs.config import MLP_PROTOCOL, TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.shifts.shift import SHIFTS
from ood_fashion.studies.exercises import MagnitudeResult, check_everything, train_mini_cnn, train_perceptron
from ood_fashion.training import numpy_trainer

SMALL: dict[str, Any] = {**MLP_PROTOCOL, "train_size": 403, "val_size": 150, "epochs": 4}


def trained(path: Path, dataset: Dataset, **settings: Any) -> Run:
    run = start_run(path, TrainConfig(**{**SMALL, **settings}), dataset, "cpu")
    numpy_trainer.train(run, dataset)
    return run


def weights(run: Run) -> dict[str, np.ndarray]:
    with np.load(run.model_path) as file:
        return dict(file)


@pytest.fixture(scope="module")
def reference(small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "reference", small_fashion)


def test_a_complete_run_folder(reference: Run) -> None:
    assert sorted(path.name for path in reference.path.iterdir()) == [
        "MLP_lr0.01_b5.json", "config.json", "history.csv", "metrics.json", "model.npz", "predictions.npz",
    ]  # fmt: skip
    run = Run.open(reference.path)
    assert run.config == TrainConfig(**SMALL)
    assert run.record["versions"].keys() == {"python", "ood-fashion", "numpy"}
    history, metrics = run.read_history(), run.read_metrics()
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds", "chunk_loss_sum"} < history[0].keys()
    assert [record["shift"] for record in metrics["results"]] == ["none", "up4", "rotate90", "rotate180", "rotate270"]
    assert metrics["training"]["updates"] == 4 * 81  # 80 batches of 5 and one of 3
    result = json.loads((run.path / "MLP_lr0.01_b5.json").read_text())
    assert result == {
        "train": [row["accuracy"] for row in history],
        "val": [row["val_accuracy"] for row in history],
        "test": metrics["results"][0]["accuracy"],
        "time": pytest.approx(sum(row["seconds"] for row in history)),
    }


def test_its_weights_give_its_metrics(reference: Run, small_fashion: Dataset) -> None:
    network = numpy_trainer.initial_network(reference.config, small_fashion)
    network.set_weights(weights(reference))
    results = reference.read_results()
    for result in results:
        predicted = predictions(numpy_trainer.score(network, small_fashion, SHIFTS[result.shift]))
        expected = measure_accuracy(result.shift, predicted.classes, small_fashion.test.labels)
        assert vars(result).items() >= vars(expected).items()
        np.testing.assert_array_equal(predicted.classes, reference.read_predictions()[result.shift].classes)
    x = small_fashion.test.images.reshape(200, -1).astype(np.float32) / np.float32(255)
    assert int(np.sum(network.forward(x).argmax(axis=1) == small_fashion.test.labels)) == results[0].correct


def test_a_killed_run_is_trained_again_to_the_same_bits(reference: Run, small_fashion: Dataset, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", reference.config, small_fashion, "cpu")

    def kill(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        numpy_trainer.train(run, small_fashion, on_epoch=kill)
    assert len(run.read_history()) == 2
    assert not run.is_complete
    assert numpy_trainer.train(Run.open(run.path), small_fashion) == reference.read_metrics()
    for name, array in weights(reference).items():
        np.testing.assert_array_equal(weights(run)[name], array)


def test_the_config_decides_the_run(reference: Run, small_fashion: Dataset, tmp_path: Path) -> None:
    for name, value in {"seed": 1, "momentum": 0.5, "split_seed": 1, "batch_size": 9}.items():
        run = trained(tmp_path / name, small_fashion, **{name: value})
        assert not np.array_equal(weights(run)["L1.W"], weights(reference)["L1.W"])
    run = trained(tmp_path / "float64", small_fashion, dtype="float64")
    assert weights(run)["L1.W"].dtype == np.float64
    np.testing.assert_allclose(weights(run)["L1.W"], weights(reference)["L1.W"], atol=1e-3)


def test_divergence_keeps_the_last_good_weights(small_fashion: Dataset, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", TrainConfig(**{**SMALL, "learning_rate": 1e30}), small_fashion, "cpu")
    with pytest.raises(DivergenceError, match=r"Lower `learning_rate`\. The weights of epoch 0 are in"):
        numpy_trainer.train(run, small_fashion)
    assert np.isfinite(weights(run)["L1.W"]).all()
    assert not run.is_complete


def test_another_dataset_is_refused(fashion: Dataset, reference: Run) -> None:
    with pytest.raises(RunError, match="expected the dataset that the run began on"):
        numpy_trainer.train(reference, fashion)


def test_the_folders_name_says_numpy() -> None:
    assert search.new_run_path(TrainConfig(**SMALL)).name.endswith("-numpy-mlp-s42")


def test_it_is_not_taken_for_a_keras_run(reference: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "RUNS_ROOT", reference.path.parent)
    with pytest.raises(RunError, match="no trained run in"):
        search.latest_complete_run()
    with pytest.raises(RunError, match=r"expected a run with a Keras model\. Received: one of numpy"):
        reference.require_keras()


@pytest.mark.parametrize("kernel", [None, "linear", "poly", "rbf"])
def test_perceptron_results(small_fashion: Dataset, kernel: str | None) -> None:
    result = train_perceptron(small_fashion, kernel, train_size=500, epochs=2)
    assert len(result.mistakes) == result.epochs == 2
    assert result.test.n == 200
    assert result.test.accuracy > 0.5
    assert ("n_support" in result.to_json()) == (kernel is not None)
    assert type(result).from_json(json.loads(json.dumps(result.to_json(), allow_nan=False))) == result
    with pytest.raises(DataError, match="at most 600"):
        train_perceptron(small_fashion, kernel, train_size=601)


def test_rbf_beats_linear(fashion: Dataset) -> None:
    """Over 1,500 images; docs/theory.md has the figures for 10,000."""
    some = Dataset(fashion.train, Split(fashion.test.images[:3_000], fashion.test.labels[:3_000]), "some")
    rbf, linear = (train_perceptron(some, kernel, train_size=1_500) for kernel in ("rbf", "linear"))
    assert rbf.test.ci95[0] > linear.test.ci95[1]
    assert rbf.n_support is not None
    assert rbf.n_support < 1_500


@pytest.mark.parametrize("seed", [0, 42])
def test_the_mini_cnn_learns_its_task(seed: int) -> None:
    result = train_mini_cnn(seed=seed)
    assert result.test.accuracy > 0.97
    assert result.loss == min(result.losses)
    (w1, w2), (v1, v2) = result.parameters["w"], result.parameters["v"]
    assert w1 < 0 < w2  # it responds to rises, and compares the two
    assert v2 < 0 < v1


def test_everything_is_checked(fashion: Dataset) -> None:
    results = check_everything(fashion)
    assert [(result.model, result.check) for result in results] == [
        ("perceptron loss", "gradient"),
        *[("mini CNN", "gradient")] * 2,
        *[("MLP", "gradient")] * 4,
        *[("MLP", "magnitude")] * 4,
    ]
    assert all(result.passed for result in results)
    assert isinstance(results[-1], MagnitudeResult)
    assert results[-1].batch_sizes == (50, 5000)
    json.dumps([result.to_json() for result in results], allow_nan=False)
