"""Asking several models about one picture: the answers of `ood.Explorer` are those of `evaluate` and `predict`."""

from __future__ import annotations

import doctest
import math
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import ood_fashion as ood
from ood_fashion.api.showing import Screen
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DataError, InvalidValueError, ModelError
from ood_fashion.evaluation import exploring
from ood_fashion.evaluation.exploring import AXES, Controls, ShownImage, View, curve_shifts, describe_move
from ood_fashion.reports import explorer_html
from ood_fashion.shifts.corruptions import CORRUPTIONS
from ood_fashion.shifts.shift import Shift

NAMES = ("mlp", "p4mgap-augmented")
SHIFTS = ("none", "up4", "rotate:33", "translate:2,-1.5+rotate:300+fog:3,7", "scale:2", "jpeg:5")


@pytest.fixture(scope="module")
def explorer(small_fashion: Dataset) -> ood.Explorer:
    return ood.Explorer(data=small_fashion, pretrained=NAMES, images=60)


def test_examples_run() -> None:
    assert doctest.testmod(exploring).failed == 0


@pytest.mark.parametrize(
    ("controls", "text"),
    [
        (Controls(), "none"),
        (Controls(dy=-4), "up4"),
        (Controls(dx=2, dy=-1.5, angle=-30, severity=3), "translate:2,-1.5+rotate:330+fog:3"),
        (Controls(angle=180, corruption="gaussian_noise", severity=5, seed=7), "rotate180+gaussian_noise:5,7"),
        (Controls(corruption="scale", severity=1), "scale:1"),
    ],
)
def test_sliders_and_texts_say_the_same(controls: Controls, text: str) -> None:
    assert str(controls.shift) == text
    assert Controls(dx=3, angle=9, corruption=controls.corruption, seed=controls.seed).at(Shift.parse(text)) == controls


def test_every_corruption_has_a_text(explorer: ood.Explorer) -> None:
    """With a seed too, which those that are not random do not have."""
    for name in CORRUPTIONS:
        shift = Controls(corruption=name, severity=1, seed=3).shift
        assert Shift.parse(str(shift)) == shift


@pytest.mark.parametrize("text", ["fog:1+up4", "rotate:3+up4", "up4+up4", "fog:1+scale:2", "translate:20,0"])
def test_sliders_cannot_say_everything(text: str) -> None:
    assert Controls().at(Shift.parse(text)) is None


def test_what_moved_last() -> None:
    before = Controls()
    moved = [
        Controls(dx=1),
        Controls(dy=1),
        Controls(angle=1),
        Controls(severity=1),
        Controls(corruption="jpeg"),
        before,
    ]
    assert [controls.moved(before) for controls in moved] == ["dx", "dy", "angle", "severity", "severity", None]


@pytest.mark.parametrize("text", SHIFTS)
def test_answers_equal_evaluate(explorer: ood.Explorer, small_fashion: Dataset, text: str) -> None:
    """The first images one by one give evaluate's count, and probabilities those of the model itself."""
    for name in NAMES:
        answers = [explorer.answers(explorer.image(index), text, [name])[0] for index in range(40)]
        result = ood.evaluate(name, text, data=small_fashion, limit=40)[text]
        assert sum(bool(answer.correct) for answer in answers) == result.correct
        images = ood.shift_images(small_fashion.test.images[:40], text)[..., None]
        logits = np.asarray(ood.load_model(name).predict(images, verbose=0), np.float64)
        temperature = ood.pretrained(name).temperature or 1.0
        scores = np.exp(logits / temperature)
        largest = np.sort(scores / scores.sum(axis=1, keepdims=True), axis=1)[:, ::-1]
        given = [[one.probability for one in answer.top] for answer in answers]
        np.testing.assert_allclose(given, largest[:, :3], atol=1e-4)


def test_answers_equal_predict(explorer: ood.Explorer, small_fashion: Dataset, tmp_path: Path) -> None:
    """Of a picture file, as it is."""
    path = tmp_path / "shoe.png"
    enlarged = Image.fromarray(255 - small_fashion.test.images[0]).resize((300, 200))
    enlarged.save(path)
    image, steps = explorer.read(path)
    assert image.index is image.label is None
    for answer in explorer.answers(image, "none"):
        (predicted,) = ood.predict(path, answer.model).rows
        assert (predicted.prepared, [one.label for one in predicted.top]) == (steps, [one.label for one in answer.top])
        np.testing.assert_allclose(
            [one.probability for one in predicted.top], [one.probability for one in answer.top], atol=1e-6
        )
        assert answer.correct is None
    assert np.array_equal(explorer.read(path.read_bytes())[0].pixels, image.pixels)


def test_pictures_are_refused_as_predict_refuses_them(explorer: ood.Explorer, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (8000, 5001)).save(path)
    with pytest.raises(DataError) as refused:
        explorer.read(path)
    with pytest.raises(DataError) as of_predict:
        ood.predict(path, "mlp")
    assert str(refused.value) == str(of_predict.value).replace(f"{tmp_path}/", "")
    assert "at most 40,000,000 pixels. Received: 8000x5001" in str(refused.value)


def test_breaking_points_equal_answers_one_by_one(explorer: ood.Explorer) -> None:
    image = explorer.image(3)
    assert explorer.known_breaking(image, "glass_blur", 2) == []
    for points in explorer.breaking(image, "glass_blur", 2):

        def changes(text: str, points: exploring.BreakingPoints = points) -> bool:
            return explorer.answers(image, text, [points.model])[0].top[0].class_name != points.answer

        assert not changes("none")
        for angle in (-177, -90, -33, 3, 60, 180):
            assert points.angles[angle] != changes(f"rotate:{angle}")
        for dx, dy in ((1, 0), (-6, 6), (0, -4), (5, 2)):
            assert points.moves[dx, dy] != changes(f"translate:{dx},{dy}")
        for severity in range(1, 6):
            assert points.severities[severity] != changes(f"glass_blur:{severity},2")
        broken = [angle for angle, stays in points.angles.items() if not stays]
        assert points.angle is None if not broken else abs(points.angle or 0) == min(map(abs, broken))
        lengths = [math.hypot(*move) for move, stays in points.moves.items() if not stays]
        assert points.move is None if not lengths else math.hypot(*points.move or ()) == min(lengths)
    assert [points.model for points in explorer.known_breaking(image, "glass_blur", 2)] == list(NAMES)


def test_breaking_points_in_words() -> None:
    stays = dict.fromkeys(exploring.trials("fog", 0), True)
    assert str(exploring.breaking_points("a", "Bag", "fog", stays)) == "no angle · no move · no fog"
    stays |= {-21: False, 24: False, (2, -1): False, (0, 3): False, "severity 2": False}
    found = exploring.breaking_points("a", "Bag", "fog", stays)
    assert str(found) == "21° right · 2 right, 1 up · fog 2"
    assert describe_move(0, 0) == "0"


@pytest.mark.parametrize("axis", AXES)
def test_curves_equal_evaluate(explorer: ood.Explorer, small_fashion: Dataset, axis: str) -> None:
    assert {point.value for point in explorer.known_curve(axis, "spatter", models=["mlp"])} <= {0}
    found = {point.value: point.accuracy for point in explorer.curve(axis, "spatter", models=["mlp"])}
    shifts = curve_shifts(axis, "spatter")
    assert list(found) == list(shifts) == list(AXES[axis])
    for row, accuracy in zip(ood.evaluate("mlp", shifts.values(), data=small_fashion, limit=60), (
        dict(zip(map(str, shifts.values()), found.values(), strict=True)).values()
    ), strict=True):  # fmt: skip
        assert (row.correct, row.n, row.ci95) == (accuracy.correct, 60, accuracy.ci95)
    with pytest.raises(InvalidValueError, match="`axis`: expected one of dx, dy, angle, severity"):
        curve_shifts("size", "fog")


def test_curves_of_the_package_are_its_sweeps(fashion: Dataset, tmp_path: Path) -> None:
    """On its data: for another seed, which no sweep has, for moves and for other models accuracy is measured."""
    shutil.copy(ood.pretrained("mlp").model_path, tmp_path / "own.keras")
    explorer = ood.Explorer(tmp_path / "own.keras", fashion, pretrained=["mlp"], images=20)
    own, shipped = explorer.names
    for axis in ("angle", "severity"):
        known = explorer.known_curve(axis, "spatter")
        assert [(point.model, point.value) for point in known] == [(shipped, value) for value in AXES[axis]]
        shifts = curve_shifts(axis, "spatter")
        expected = ood.evaluate("mlp", shifts.values(), data=fashion, limit=2000)
        assert all(point.accuracy.correct == expected[str(shifts[int(point.value)])].correct for point in known)
    found = explorer.curve("severity", "spatter")
    assert {point.model: point.accuracy.n for point in found} == {own: 20, shipped: 2000}
    assert {point.accuracy.n for point in explorer.curve("severity", "spatter", seed=1)} == {20}
    assert {point.accuracy.n for point in explorer.curve("dx")} == {20}
    shown = explorer_html.curve_html(found, "severity", None, explorer.names, [])
    assert f"Accuracy on the first 20 ({own}) or 2,000 (mlp) test images, all other" in shown


def test_the_next_failure(explorer: ood.Explorer, small_fashion: Dataset) -> None:
    labels = small_fashion.test.labels
    images = ood.shift_images(small_fashion.test.images, "up4")[..., None]
    wrong = np.flatnonzero(ood.load_model("mlp").predict(images, verbose=0).argmax(axis=1) != labels)
    found = [-1]
    for _ in range(len(wrong) + 1):
        found.append(explorer.next_failure("up4", ["mlp"], after=found[-1]) or 0)
    assert found[1:] == [*wrong, wrong[0]]
    of_bags = wrong[labels[wrong] == 8]
    assert explorer.next_failure("up4", ["mlp"], label=8, after=-1) == of_bags[0]
    assert explorer.next_failure("up4", [], after=-1) is None
    assert explorer.next_of_class(8) == np.flatnonzero(labels == 8)[0]
    assert explorer.next_of_class(None, after=len(labels) - 1) == 0
    assert explorer.next_of_class(77) is None


def test_links_restore_a_view() -> None:
    names = ("mlp", "a&b=c,d?#%/ü")
    for view in (View(), View(7, Shift.parse("up4+fog:3,2"), names), View(199, Shift(), (names[1],))):
        assert View.parse(f"?{view.query}", 200, names) == view
    assert View(None, Shift.parse("up4")).query == "shift=up4"
    assert View.parse("__theme=dark", 200, names) == View()
    for query, message in (
        ("image=200", "`image`: expected a number from 0 to 199. Received: '200'"),
        ("image=-1", "`image`: expected a number"),
        ("image=²", "`image`: expected a number"),
        ("model=x", "`models`: expected of mlp, a&b=c,d"),
        ("shift=fgo:1", "shift 'fgo:1': unknown"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            View.parse(query, 200, names)


def test_models_of_every_kind_stand_beside_each_other(small_fashion: Dataset, tmp_path: Path) -> None:
    """A Keras model, runs, functions; those of the same name are told apart, and runs of one's own by their paths."""
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)], name="mlp")

    def bright(images: np.ndarray) -> np.ndarray:
        return np.pad(images.mean(axis=(1, 2))[:, None], ((0, 0), (3, 6)))

    own = ood.load_run(shutil.copytree(ood.pretrained("mlp").path, tmp_path / "own"))
    models = [model, ood.pretrained("cnn2"), bright, bright, own]
    explorer = ood.Explorer(models, small_fashion, pretrained=["mlp"])
    assert explorer.names == ("mlp", "cnn2", "bright", "bright (2)", str(own.path), "mlp (2)")
    answers = explorer.answers(explorer.image(0), "none")
    assert [answer.top[0].label for answer in answers][2:4] == [3, 3]
    assert explorer.answers(explorer.image(0), "none", ["mlp (2)"])[0].top[0].class_name == "9"


def test_a_page_that_is_a_step_behind_changes_what_it_changed(explorer: ood.Explorer) -> None:
    """It still has the text of two angles ago; what the user did is the third angle, and later another image."""
    start = Screen.first(explorer)
    first = start.update(explorer, replace(start.fields, controls=Controls(angle=1)))
    second = first.update(explorer, first.merge(start.fields, replace(start.fields, controls=Controls(angle=2))))
    third = second.update(explorer, second.merge(first.fields, replace(first.fields, controls=Controls(angle=3))))
    assert [str(screen.shift) for screen in (first, second, third)] == ["rotate:1", "rotate:2", "rotate:3"]
    last = third.update(explorer, third.merge(first.fields, replace(first.fields, number=7)))
    assert (str(last.shift), last.image.index) == ("rotate:3", 7)
    typed = last.update(explorer, last.merge(last.fields, replace(last.fields, text="rotate:1")))
    assert (str(typed.shift), typed.fields.controls.angle) == ("rotate:1", 1)


def test_what_does_not_fit_is_refused(small_fashion: Dataset) -> None:
    small = keras.Sequential([keras.Input((20, 20, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    with pytest.raises(ModelError, match=r"expected an input of shape \(n, 28, 28, 1\)"):
        ood.Explorer(small, small_fashion)
    with pytest.raises(ModelError, match=r"model <lambda>: expected scores \(n, 10\)"):
        ood.Explorer(lambda images: np.zeros(len(images), np.int64), small_fashion, pretrained=[])
    with pytest.raises(InvalidValueError, match=r"`pretrained`: expected of cnn2, .* Received: 'x'"):
        ood.Explorer(pretrained=["x"])
    with pytest.raises(InvalidValueError, match="`models`: expected one or more"):
        ood.Explorer(pretrained=[])
    explorer = ood.Explorer(data=small_fashion, pretrained=["mlp"])
    for index in (-1, 200, 1.5):
        with pytest.raises(InvalidValueError, match="`image`: expected a number from 0 to 199"):
            explorer.image(index)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="`models`: expected of mlp"):
        explorer.answers(explorer.image(0), "none", ["cnn3"])


def test_threads_get_the_answers_of_one(explorer: ood.Explorer) -> None:
    """While one measures a curve, others ask."""
    image = ShownImage(explorer.image(5).pixels)
    expected = [explorer.answers(image, f"rotate:{angle}") for angle in range(8)]
    given: dict[int, object] = {}
    measuring = threading.Thread(target=explorer.curve, args=("angle",))
    asking = [
        threading.Thread(target=lambda a=angle: given.update({a: explorer.answers(image, f"rotate:{a}")}))
        for angle in range(8)
    ]
    for thread in (measuring, *asking):
        thread.start()
    for thread in (measuring, *asking):
        thread.join()
    assert [given[angle] for angle in range(8)] == expected
    assert len(explorer.known_curve("angle")) == 2 * len(AXES["angle"])
