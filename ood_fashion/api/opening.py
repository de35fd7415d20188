"""Opening what has been trained: runs, the package's own models, and model files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ood_fashion.api.results import Evaluation
from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, ModelError
from ood_fashion.evaluation.classifier import Scorer, score_callable
from ood_fashion.evaluation.prediction_files import PredictionFile, is_predictions, read_predictions
from ood_fashion.files import exists, is_file
from ood_fashion.runs import run
from ood_fashion.runs.search import latest_complete_run, model_name, pretrained_runs
from ood_fashion.shifts.orbits import Orbit
from ood_fashion.studies import assignment


@dataclass(frozen=True)
class Run(run.Run):
    """A run: what was trained, with which settings, and what came of it.

    Attributes:
        path: the run folder.
        dataset: what it was trained on, where it was trained in this process; `evaluate` measures it on that.

    Examples:
        >>> import ood_fashion as ood
        >>> run = ood.pretrained("cnn3")
        >>> run.config.batch_size
        5
        >>> round(run.results["up4"].accuracy, 2)
        0.59
    """

    dataset: Dataset | None = field(default=None, compare=False, repr=False)

    @cached_property
    def model(self) -> Any:
        """The trained `keras.Model`: from float32 (n, height, width, 1) in [0, 1] to logits (n, classes)."""
        from ood_fashion.runs.model_files import load_model

        return load_model(self.require_complete().require_keras().model_path)

    @property
    def history(self) -> list[dict[str, float]]:
        """Loss, accuracy, val_loss, val_accuracy and seconds of every epoch."""
        return self.read_history()

    @property
    def results(self) -> Evaluation:
        """All metrics on the five test sets, as they were measured after the training."""
        model = assignment.comparable_model(self.config, genuine=self.is_genuine)
        return Evaluation(model_name(self), self.read_results(), self.class_names, model)


def load_run(path: str | Path | None = None) -> Run:
    """Open a run folder.

    Args:
        path: the folder; the latest complete run under ./runs unless given.

    Raises:
        RunError: it is not there or is no run.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.load_run(ood.pretrained("cnn3").path).config.model
        'cnn3'
    """
    return Run((run.Run.open(Path(path)) if path else latest_complete_run()).path)


def pretrained(name: str) -> Run:
    """Open a trained model that comes with the package.

    Args:
        name: such as "cnn3", which follows the assignment's protocol, "cnn3-full", trained on 55,000 images, or
            "robust", which shifts hurt least.

    Raises:
        InvalidValueError: there is none of that name; the message lists those that there are.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.pretrained("robust").config.model
        'p4mres'
    """
    found = pretrained_runs()
    if name not in found:
        raise InvalidValueError(f"`name`: expected one of {', '.join(found)}. Received: {name!r}.")
    return Run(found[name])


Model = Any
"""A run, a `keras.Model`, a path, the name of a pretrained model, or a callable from images to scores.

The path is of a run folder, a model file, or a file of predictions."""


@dataclass(frozen=True)
class OpenedModel:
    """A Keras model, a callable or a file of predictions, what to call it, and the run that it comes from, if any."""

    model: Any
    name: str
    run: Run | None = None

    def scorer(
        self,
        dataset: Dataset,
        split: Split | None = None,
        orbit: Orbit | None = None,
        outputs: str = "auto",
        **options: Any,
    ) -> Scorer:
        """Return what scores the images of `split`, the dataset's test set unless given, under a shift.

        The arguments are those of `scorer.make_scorer`, and `options` more for `classifier.score_callable`.
        """
        if is_keras(self.model):
            from ood_fashion.evaluation.scorer import make_scorer

            return make_scorer(self.model, dataset, split, orbit or Orbit(), outputs)
        if isinstance(self.model, PredictionFile):
            return self.model.scorer(split or dataset.test, outputs)
        return score_callable(_as_classifier(self.model, dataset), split or dataset.test, outputs=outputs, **options)


def open_model(model: Model, *, pixel_range: str | None = None, trust: bool = False) -> OpenedModel:
    """Find out what a model is, and load it; the options are those of `model_files.load_model`.

    A run has no use for them: what it takes is known.

    Raises:
        InvalidValueError: it is nothing that classifies images.
        RunError: the run is not complete.
        ModelError: the file cannot be loaded.
    """
    if run := find_run(model):
        return OpenedModel(run.model, model_name(run), run)
    if is_predictions(model):
        if pixel_range:
            raise InvalidValueError("`pixel_range`: expected a model. Received: a file of predictions. Leave it out.")
        return OpenedModel(read_predictions(Path(model)), str(model))
    if isinstance(model, str | Path):
        require_there(model)
        from ood_fashion.runs.model_files import load_model

        return OpenedModel(load_model(Path(model), pixel_range, trust=trust), str(model))
    if is_keras(model) and pixel_range:
        from ood_fashion.evaluation.model_io import with_pixel_range

        model = with_pixel_range(model, pixel_range)
    elif callable(model) and pixel_range:
        raise InvalidValueError(
            "`pixel_range`: expected a Keras model or a path. Received: a callable. Scale its images in it: "
            "lambda images: function(255 * images)."
        )
    if is_keras(model) or callable(model):
        return OpenedModel(model, str(getattr(model, "name", None) or getattr(model, "__name__", "model")))
    raise InvalidValueError(
        "`model`: expected a run, a Keras model, a path, the name of a pretrained model, or a callable such as "
        f"predict_proba. Received: {type(model).__name__}."
    )


def require_there(model: str | Path) -> None:
    """Refuse what is neither a path of something nor a pretrained model's name, which it lists."""
    if not exists(Path(model), ModelError):
        raise ModelError(
            f"{model}: expected a run folder, a model file, or one of {', '.join(pretrained_runs())}. "
            "Received: nothing there."
        )


def open_keras_model(model: Model, **options: Any) -> OpenedModel:
    """Open a model as `open_model` does, and refuse what is no Keras model."""
    opened = open_model(refuse_predictions(model), **options)
    if not is_keras(opened.model):
        raise InvalidValueError("`model`: expected a Keras model. Received: a callable.")
    return opened


def is_keras(model: Any) -> bool:
    """Say whether something is a Keras model."""
    keras = sys.modules.get("keras")  # without it there is no Keras model
    return keras is not None and isinstance(model, keras.Model)


def _as_classifier(function: Callable[[Any], Any], dataset: Dataset) -> Callable[[Any], Any]:
    """Give an estimator's method, such as scikit-learn's `predict_proba`, images as the rows that it was fitted on."""
    height, width = dataset.image_shape
    if getattr(getattr(function, "__self__", None), "n_features_in_", None) == height * width:
        return lambda images: function(images.reshape(len(images), -1))
    return function


def load_model(path: str | Path, *, trust: bool = False) -> Any:
    """Load a Keras model: a pretrained one by its name, a run's, a .keras file or a SavedModel folder.

    Args:
        path: a path, or the name of a pretrained model.
        trust: load a .keras file of another origin under Keras before 3.15 too, whose safe mode has known holes.

    Returns:
        A `keras.Model`.

    Raises:
        ModelError: the file is absent, of another format, or not loadable without trusting it.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.load_model("cnn3").count_params()
        68106
    """
    return open_model(refuse_predictions(path), trust=trust).model


def refuse_predictions(model: Model) -> Model:
    """Return what names a model, unless it names a file of predictions, where a model is to be asked anew."""
    if is_predictions(model):
        raise ModelError(
            f"{model}: expected a model. Received: a file of predictions, which `evaluate` and `compare` read."
        )
    return model


def find_run(model: Model) -> Run | None:
    """Return the run that a model is of, if it is one: a run, its folder, or the name of a pretrained model."""
    if isinstance(model, run.Run):
        return model if isinstance(model, Run) else Run(model.path)
    if isinstance(model, str | Path) and str(model) in pretrained_runs() and not exists(Path(model)):
        return pretrained(str(model))
    if isinstance(model, str | Path) and is_file(Path(model) / "config.json"):
        return load_run(model)
    return None


def several(models: Model | Sequence[Model]) -> list[Model]:
    """Return models as a list, from one or several of them."""
    return list(models) if isinstance(models, list | tuple) else [models]


def require_models(models: Model | Sequence[Model], argument: str) -> list[Model]:
    """Return models as `several` does, and refuse none by the name of the argument."""
    if not (found := several(models)):
        raise InvalidValueError(f"`{argument}`: expected one or more. Received: none.")
    return found
