"""Audits: planted duplicates, empty images and wrong labels are found, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import DataError
from ood_fashion.evaluation import audit as auditing
from ood_fashion.evaluation.audit import Audit, ImagePlace, find_errors
from tests.conftest import Invoke
from tests.documents import Document


def place(split: str, index: int, dataset: Dataset) -> ImagePlace:
    return ImagePlace(split, index, int(getattr(dataset, split).labels[index]))


@pytest.fixture(scope="module")
def planted(small_fashion: Dataset) -> Dataset:
    """Training image 3 again as 599, and a shade lighter as 598; 4 again as test image 9; an empty one, and a white."""
    images, labels = small_fashion.train.images.copy(), small_fashion.train.labels.copy()
    images[599], labels[599] = images[3], labels[3]
    images[598], labels[598] = np.clip(images[3].astype(int) + 2, 0, 255), labels[3]
    images[597], images[596] = 0, 255
    test = small_fashion.test.images.copy()
    test[9] = images[4]
    return Dataset(Split(images, labels), Split(test, small_fashion.test.labels), "planted")


@pytest.fixture(scope="module")
def found(planted: Dataset) -> Audit:
    return auditing.audit(planted)


def test_what_is_planted_is_found(planted: Dataset, found: Audit) -> None:
    pairs = [(pair.first, pair.second) for pair in found.duplicates]
    assert pairs == [(place("train", 3, planted), place("train", 599, planted)),
                     (place("train", 4, planted), place("test", 9, planted))]  # fmt: skip
    counts = [found.count(found.duplicates, *splits) for splits in (("train",), ("test",), ("train", "test"))]
    assert counts == [1, 0, 1]
    near = {(pair.first.index, pair.second.index): pair.difference for pair in found.near_duplicates}
    assert near.keys() == {(3, 598), (598, 599)}
    assert near[3, 598] == pytest.approx(2 / 255, rel=0.1)
    assert [one.index for one in found.constant] == [596, 597]
    assert 596 in [one.index for one in found.saturated]
    assert 597 not in [one.index for one in found.saturated]
    assert found.labels["test"] == tuple(np.bincount(planted.test.labels, minlength=10))
    assert Audit.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_neighbours_are_those_of_a_naive_search(planted: Dataset) -> None:
    points = auditing._project(planted.train.images.reshape(600, -1))
    neighbours, distances = auditing._nearest(points, lambda: None)
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(np.sort(distances), np.sort(apart**2)[:, : auditing.NEIGHBOURS], rtol=1e-3, atol=1e-3)
    assert neighbours.shape == (600, auditing.NEIGHBOURS)
    full = cdist(planted.train.images.reshape(600, -1) / 255, planted.train.images.reshape(600, -1) / 255)
    assert (np.sqrt(distances) <= np.take_along_axis(full, neighbours, axis=1) + 1e-2).all()


def test_wrong_labels_are_doubted(small_fashion: Dataset) -> None:
    """Ten labels exchanged between trousers and boots, which hardly any neighbour confuses."""
    rng = np.random.default_rng(0)
    labels = small_fashion.train.labels.copy()
    chosen = rng.choice(np.flatnonzero(np.isin(labels, (1, 9))), 10, replace=False)
    labels[chosen] = 10 - labels[chosen]
    changed = Dataset(Split(small_fashion.train.images, labels), small_fashion.test, "changed")
    doubted = [one for one in auditing.audit(changed).suspicious if one.image.split == "train"]
    suggested = {one.image.index: one.suggested for one in doubted}
    assert len(doubted) < 75  # of 600
    # The threshold of a class falls as wrong labels are among its own: what is less certain is not doubted.
    assert sum(suggested.get(i) == small_fashion.train.labels[i] for i in chosen) >= 6
    assert all(suggested.get(i, small_fashion.train.labels[i]) == small_fashion.train.labels[i] for i in chosen)


@pytest.mark.parametrize("seed", range(3))
def test_confident_learning_as_cleanlab_has_it(seed: int) -> None:
    """The same labels as `find_label_issues(filter_by="confident_learning")` of its authors finds."""
    from cleanlab.filter import find_label_issues

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 400)
    logits = rng.normal(size=(400, 4)) + 1.5 * np.eye(4)[np.where(rng.random(400) < 0.2, (labels + 1) % 4, labels)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = [i for i, *_ in find_errors(probabilities, labels)]
    assert (
        sorted(found)
        == np.flatnonzero(find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)).tolist()
    )
    assert len(found) > 40


def test_confident_learning_by_hand() -> None:
    """Thresholds: 0.55 of class 0, 0.5 of class 1 (Northcutt et al., section 3.1, by hand)."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.7, 0.3], [0.5, 0.5]])
    labels = np.array([0, 0, 1, 1, 1])
    found = find_errors(probabilities, labels)
    assert [(i, k) for i, k, _ in found] == [(1, 1), (3, 0)]
    assert [margin for *_, margin in found] == pytest.approx([-0.6, -0.4])
    assert find_errors(np.eye(3)[[0, 1]], np.array([0, 1])) == []


def test_the_command_and_its_page(invoke: Invoke, planted: Dataset, tmp_path: Path) -> None:
    (train, test) = planted.train, planted.test
    np.savez(tmp_path / "set.npz", x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
    result = invoke("data", "--data-dir", "set.npz", "--audit", "audit.html")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["same", "image", "1", "0", "1"] in lines
    assert ["differ", "by", "0.03", "at", "most", "2", "0", "0"] in lines
    page = Document((tmp_path / "audit.html").read_text())
    assert "Near duplicates" in page.text
    captions = [str(svg["aria-label"]).partition(":")[0] for svg in page.of("svg")]
    assert captions == [
        "Duplicates", "Near duplicates", "The most suspicious labels", "Images of one grey level", "Saturated images",
    ]  # fmt: skip
    record = json.loads(invoke("data", "--data-dir", "set.npz", "--audit", "b.html", "--json").stdout)
    assert len(record["audit"]["duplicates"]) == 2


def test_results_and_bad_input(planted: Dataset, tmp_path: Path, invoke: Invoke) -> None:
    results = ood.audit(planted)
    assert len(results) == len(results.found.suspicious) > 0
    assert len(results.plot().axes) >= min(40, len(results))
    assert replace(results, found=replace(results.found, suspicious=())).plot().axes == []
    one = Split(planted.test.images[:1], planted.test.labels[:1])
    none = Split(planted.test.images[:0], planted.test.labels[:0])
    with pytest.raises(DataError, match=r"one: expected two images or more\. Received: one\."):
        ood.audit(Dataset(none, one, "one"))
    failed = invoke("data", "--audit", "absent/audit.html", "--data-dir", "none.npz")
    assert (failed.exit_code, len(failed.stderr.splitlines())) == (1, 1)
