"""Shifted Fashion-MNIST for TensorFlow Datasets: importing this module registers the builder `ood_fashion`.

    import tensorflow_datasets as tfds
    import ood_fashion.data.tfds

    tfds.load("ood_fashion/rotate90", split="test")

A config is a shift. In its name `-` stands for the colon and `_` for the comma, which TFDS does not allow: `rotate-45`,
`translate-2_-1.5`, `up4+gaussian_noise-3`. Named shifts and corruptions are listed; any other shift works as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ood_fashion.data.dataset import FASHION_CLASSES, Dataset, Split
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import DataError, summarize_error
from ood_fashion.images import blocks
from ood_fashion.importing import quiet_tensorflow
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import SHIFTS, Corrupt, Shift, file_name

with quiet_tensorflow():
    import tensorflow as tf
    import tensorflow_datasets as tfds

_FASHION_CITATION = """\
@article{xiao2017fashion,
  title={{Fashion-MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  author={Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  journal={arXiv preprint arXiv:1708.07747},
  year={2017}
}
"""
_SHIFTS_CITATION = """\
@inproceedings{hendrycks2019benchmarking,
  title={Benchmarking Neural Network Robustness to Common Corruptions and Perturbations},
  author={Hendrycks, Dan and Dietterich, Thomas},
  booktitle={International Conference on Learning Representations},
  year={2019}
}
@article{mu2019mnistc,
  title={{MNIST-C}: A Robustness Benchmark for Computer Vision},
  author={Mu, Norman and Gilmer, Justin},
  journal={arXiv preprint arXiv:1906.02337},
  year={2019}
}
"""
_VERSION = "1.0.0"


def parse_config_name(name: str) -> Shift:
    """Read a config's name."""
    terms = (term.partition("-") for term in name.split("+"))
    return Shift.parse("+".join(f"{word}{':' * len(dash)}{numbers.replace('_', ',')}" for word, dash, numbers in terms))


@cache  # TFDS takes a second config of the same name for a mistake
def config_for(shift: Shift) -> tfds.core.BuilderConfig:
    """Return the config of a shift."""
    name = file_name(shift)
    return tfds.core.BuilderConfig(name=name, version=_VERSION, description=f"Every image under the shift {shift}.")


class OodFashion(tfds.core.GeneratorBasedBuilder):
    """Fashion-MNIST with every image, of the training and the test set, under a shift.

    The pixels come from where `sources.load_dataset` finds them, which must be genuine, unless `dataset` gives them.
    Another dataset is described by its source, and labelled by its own class names.
    """

    VERSION = tfds.core.Version(_VERSION)
    RELEASE_NOTES = {_VERSION: "The first version."}  # noqa: RUF012 # TFDS reads it from the class
    BUILDER_CONFIGS = [  # noqa: RUF012
        *map(config_for, SHIFTS.values()),
        *(config_for(Shift((Corrupt(name, severity),))) for name in CORRUPTIONS for severity in SEVERITIES),
    ]

    def __init__(self, *, dataset: Dataset | None = None, **options: Any) -> None:
        self._dataset = dataset
        super().__init__(**options)

    @classmethod
    def get_builder_config(cls, name: str, version: Any = None) -> tfds.core.BuilderConfig:
        """Return the config of a name, listed or not."""
        return config_for(parse_config_name(name))

    def _info(self) -> tfds.core.DatasetInfo:
        other = None if self._dataset is None or self._dataset.is_genuine else self._dataset
        height, width = other.image_shape if other else (28, 28)
        name = f"{other.source}, which is not Fashion-MNIST as published," if other else "Fashion-MNIST"
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{name} in its original order, every image moved, turned or corrupted.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(height, width, 1)),
                    "label": tfds.features.ClassLabel(
                        names=self._dataset.class_names if self._dataset else FASHION_CLASSES
                    ),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=None if other else "https://github.com/zalandoresearch/fashion-mnist",
            citation=_SHIFTS_CITATION if other else _FASHION_CITATION + _SHIFTS_CITATION,
            disable_shuffling=True,  # image i stays image i
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        dataset = self._dataset or load_dataset()
        if self._dataset is None and not dataset.is_genuine:
            raise DataError(
                f"{dataset.source}: expected Fashion-MNIST as published. Received: other images or labels. "
                "Give other data as OodFashion(dataset=...)."
            )
        splits = {"train": dataset.train, "test": dataset.test}
        return {name: self._generate_examples(split) for name, split in splits.items() if len(split)}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        shift = parse_config_name(self.builder_config.name)
        for block in blocks(split.images.shape):
            indices = np.arange(block.start, block.stop)
            for i, image in zip(indices, shift.apply_uint8(split.images[block], indices), strict=True):
                yield int(i), {"image": image[..., np.newaxis], "label": int(split.labels[i])}


def prepare(dataset: Dataset, shift: Shift, data_dir: Path) -> None:
    """Write a dataset under a shift as TFDS stores it, into `data_dir`; raise OSError where TensorFlow cannot."""
    tfds.disable_progress_bar()
    try:
        with TemporaryDirectory() as downloads, redirect_stdout(StringIO()):  # it says that it downloads
            builder = OodFashion(config=file_name(shift), data_dir=data_dir, dataset=dataset)
            builder.download_and_prepare(download_dir=downloads)
    except (tf.errors.OpError, RuntimeError) as error:  # TFDS makes the first into the second on its way
        raise OSError(summarize_error(error)) from error
