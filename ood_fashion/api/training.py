"""Training models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ood_fashion.api.data import Data, load_dataset
from ood_fashion.api.opening import Run
from ood_fashion.errors import InvalidValueError
from ood_fashion.files import exists, locked
from ood_fashion.runs.config import PROTOCOLS, TrainConfig
from ood_fashion.runs.search import find_unfinished_run, new_run_path
from ood_fashion.training.trainers import train_run


def train(
    model: str | TrainConfig | None = None,
    data: Data = None,
    *,
    protocol: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    tensorboard: bool = False,
    device: str = "auto",
    threads: int | None = None,
    verbose: bool = True,
    **settings: Any,
) -> Run:
    """Train a model and measure it on the five test sets.

    The result is a run folder, written as the training goes on, so that one that was killed can be resumed.

    Args:
        model: a name in `MODELS`, "cnn3" unless given, or a `TrainConfig`.
        data: what `load_dataset` takes or gives; Fashion-MNIST unless given.
        protocol: a name in `config.PROTOCOLS`, a set of settings of which `settings` change single ones.
        out: the run folder, absent or empty; runs/TIME-MODEL-sSEED unless given.
        resume: finish the run in `out`, or else the latest unfinished one with these settings; start one if there is
            none.
        callbacks: more `keras.callbacks.Callback` objects for `fit`.
        tensorboard: write logs for TensorBoard into the run folder too.
        device: "auto", "cpu" or "gpu".
        threads: of the CPU, to be chosen before TensorFlow computes anything; one a core unless given.
        verbose: show progress on standard error.
        **settings: fields of `TrainConfig`, such as `seed=1`, `epochs=10` or `augment=["translate:4"]`.

    Returns:
        The complete run, with `model`, `history`, `results` and `config`.

    Raises:
        InvalidValueError: a setting does not exist or is out of range.
        DataError: the dataset is absent, damaged or too small.
        RunError: the folder holds something else, is in use, or cannot be written.
        DeviceError: the device or the threads cannot be had.
        DivergenceError: a loss was not finite; the last good weights are in the run's model file.

    Examples:
        >>> import ood_fashion as ood
        >>> run = ood.train("mlp", train_size=500, val_size=100, epochs=1, out=folder / "run", verbose=False)
        >>> run.model.count_params(), len(run.history), len(run.results)
        (101770, 1, 5)
    """
    given = given_settings(model, protocol, settings)
    config, path = plan(given, Path(out) if out else None, resume=resume)
    run = Run.open(path) if resume and exists(path / "config.json") else None
    dataset = None
    with locked(path):
        if run is None or not run.is_complete:
            dataset = load_dataset(data)
            options: dict[str, Any] = {"callbacks": callbacks, "tensorboard": tensorboard, "verbose": verbose}
            run = train_run(run, path, config, dataset, device, threads=threads, **options)
        else:
            run.tidy()
    return Run(path, dataset)


def plan(
    given: Mapping[str, Any], out: Path | None, *, resume: bool, defaults: Mapping[str, Any] | None = None
) -> tuple[TrainConfig, Path]:
    """Return the config of a training and its folder: those of the run that is to be finished, or new ones.

    Args:
        given: the fields of `TrainConfig` that are named.
        out: the folder; None chooses.
        resume: as for `train`.
        defaults: fields that a new run has where they are not given.

    Raises:
        InvalidValueError: a setting does not exist or is out of range.
        RunError: the run in `out` began with other settings.
    """
    config = TrainConfig.from_json({**(defaults or {}), **given})
    settings = config.to_json()
    run = find_unfinished_run({name: settings[name] for name in given}, out) if resume else None
    return (run.config, run.path) if run else (config, out or new_run_path(config))


def given_settings(model: str | TrainConfig | None, protocol: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that are named.

    Raises:
        InvalidValueError: there is no such protocol, or a config is given with more settings.
    """
    if isinstance(model, TrainConfig):
        if protocol or settings:
            raise InvalidValueError("`model`: expected a name beside other settings. Received: a TrainConfig.")
        return model.to_json()
    if protocol is not None and protocol not in PROTOCOLS:
        raise InvalidValueError(f"`protocol`: expected one of {', '.join(PROTOCOLS)}. Received: {protocol!r}.")
    return {**PROTOCOLS.get(protocol or "", {}), **settings, **({} if model is None else {"model": model})}
