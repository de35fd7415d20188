"""Training the MLP of `from_scratch` on a dataset, into the same run folder and records as `keras_trainer`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ood_fashion.data.dataset import Dataset, split_train
from ood_fashion.errors import DivergenceError
from ood_fashion.from_scratch import mlp
from ood_fashion.from_scratch.mlp import Epoch, Network
from ood_fashion.images import to_unit_range
from ood_fashion.models.layer_specs import Dense
from ood_fashion.models.specs import MODELS
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import require_same_dataset
from ood_fashion.shifts.shift import Shift
from ood_fashion.training.finish import divergence, finish


class EpochLog:
    """Progress on standard error: a bar over an epoch's updates on a terminal, and a line after each epoch."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.epoch = config, 1

    def updates(self, batches: Sequence[int]) -> Iterable[int]:
        """Show a bar over the batches."""
        from tqdm import tqdm

        title = f"epoch {self.epoch}/{self.config.epochs}"
        return tqdm(batches, title, leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty(), unit=" updates")

    def epoch_end(self, epoch: Epoch) -> None:
        """Show the epoch's measures, the assignment's sum of losses among them."""
        self.epoch += 1
        print(
            f"epoch {epoch.epoch}/{self.config.epochs}  loss {epoch.loss:.4f} (the assignment's sum "
            f"{epoch.chunk_loss_sum:.3f})  accuracy {epoch.accuracy:.4f}  val_accuracy {epoch.val_accuracy:.4f}  "
            f"{epoch.seconds:.2f} s",
            file=sys.stderr,
        )


def as_examples(images: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """Flatten images (n, height, width), uint8 or in [0, 1], to (n, height * width) in [0, 1]."""
    return to_unit_range(images).reshape(len(images), -1).astype(dtype, copy=False)


def initial_network(config: TrainConfig, dataset: Dataset, dtype: DTypeLike | None = None) -> Network:
    """Build the config's MLP for the dataset's images and classes, in the config's dtype unless another is given."""
    hidden = [layer.units for layer in MODELS[config.model].layers if isinstance(layer, Dense)]
    sizes = (int(np.prod(dataset.image_shape)), *hidden, dataset.num_classes)
    return mlp.build_mlp(sizes, seed=config.seed, dtype=dtype or config.dtype)


def train(
    run: Run, dataset: Dataset, *, on_epoch: Callable[[Epoch], None] = lambda epoch: None, verbose: bool = False
) -> dict[str, Any]:
    """Train the run's MLP in NumPy from its start, evaluate it on the assignment's test sets, and complete the run.

    A run that was killed is trained again from its first epoch, to the same bits. Progress is shown on standard error
    if `verbose`. A loss that is not finite raises a DivergenceError; the last good weights are then in the run's file.
    """
    config = run.config
    require_same_dataset(run, dataset)
    splits = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    training, validation = ((as_examples(split.images, config.dtype), split.labels) for split in splits)
    network = initial_network(config, dataset)
    history: list[dict[str, float]] = []
    log = EpochLog(config)

    def record(epoch: Epoch) -> None:
        history.append({**asdict(epoch), "seconds": round(epoch.seconds, 3)})
        run.write_history(history)
        if verbose:
            log.epoch_end(epoch)
        on_epoch(epoch)

    try:
        mlp.fit(
            network,
            training,
            validation,
            learning_rate=config.learning_rate,
            momentum=config.momentum,
            batch_size=config.batch_size,
            epochs=config.epochs,
            patience=config.patience,
            seed=config.seed,
            progress=log.updates if verbose else iter,
            on_epoch=record,
        )
    except DivergenceError as error:
        run.write_weights(network.parameters)
        raise divergence(error, run, history) from error
    run.write_weights(network.parameters)
    return finish(run, dataset, history, lambda shift: score(network, dataset, shift))


def score(network: Network, dataset: Dataset, shift: Shift) -> NDArray[np.floating[Any]]:
    """Return the logits of every image of the dataset's test set under a shift, (n, classes)."""
    dtype = network.parameters["L1.W"].dtype
    return network.forward(as_examples(shift.apply(dataset.test.images), dtype))
