"""The models and augmentations under Keras's other backends, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.models.build import build_model
from ood_fashion.models.specs import MODELS
from ood_fashion.shifts.augmentations import KINDS, Augmentation
from ood_fashion.training.augmentation import augment
from tests.conftest import JAX_FOLDER

COMPUTE = """
import sys
import numpy as np
from ood_fashion.models.build import build_model
from ood_fashion._tensorflow import keras
from ood_fashion.shifts.augmentations import Augmentation
from ood_fashion.training.augmentation import augment

folder, texts, names = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
assert "tensorflow" not in sys.modules
for name in names:
    saved = np.load(f"{folder}/{name}.npz")
    model = build_model(name)
    model.set_weights([saved[str(i)] for i in range(len(model.weights))])
    outputs = {mode: model(saved["images"], training=mode == "train") for mode in ("test", "train")}
    np.savez(f"{folder}/{name}-out.npz", **{mode: keras.ops.convert_to_numpy(value) for mode, value in outputs.items()})
saved = np.load(f"{folder}/augment.npz")
pixels = augment(saved["images"], saved["draws"], tuple(map(Augmentation.parse, texts)))
np.save(f"{folder}/augmented.npy", keras.ops.convert_to_numpy(pixels))
"""

AUGMENTATIONS = (
    *("translate:4", "rotate90", "mirror", "rotate:45", "tone:0.5", "filter:1", "spectrum:1", "wave:0.5"),
    *("pixmix:1@0.5", "noise:0.4", "impulse:0.3", "blur:2", "line:2@0.5", "erase:0.5"),
)


# scripts/setup.sh installs JAX for this. PyTorch takes gigabytes: its case runs where the extra `bench` is.
no_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch takes gigabytes: the extra bench")


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=no_torch)])
def test_another_backend_gives_the_same_outputs(tmp_path: Path, backend: str, fashion: Dataset) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((6, 28, 28, 1), np.float32)
    expected = {}
    for name in MODELS:
        model = build_model(name)
        model.set_weights([rng.uniform(-0.2, 0.3, w.shape) + ("variance" in w.path) for w in model.weights])
        weights = {str(i): weight for i, weight in enumerate(model.get_weights())}
        np.savez(tmp_path / f"{name}.npz", images=images, **weights)
        expected[name] = {"test": model(images).numpy(), "train": model(images, training=True).numpy()}
    augmentations = tuple(map(Augmentation.parse, AUGMENTATIONS))
    assert {one.kind for one in augmentations} == KINDS.keys()
    draws = rng.random((50, sum(one.draws for one in augmentations)), np.float32)
    np.savez(tmp_path / "augment.npz", images=fashion.test.images[:50, ..., np.newaxis], draws=draws)
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join([str(JAX_FOLDER), *sys.path])}
    command = [sys.executable, "-c", COMPUTE, str(tmp_path), " ".join(AUGMENTATIONS), *MODELS]
    subprocess.run(command, env=environment, check=True)
    for name, outputs in expected.items():
        received = np.load(tmp_path / f"{name}-out.npz")
        for mode, values in outputs.items():
            np.testing.assert_allclose(received[mode], values, rtol=0, atol=1e-5 * max(1, np.abs(values).max()))
    augmented = augment(fashion.test.images[:50, ..., np.newaxis], draws, augmentations)
    differences = np.abs(np.load(tmp_path / "augmented.npy") - augmented)
    # Rounding may decide on which side of a line or of a neighbour's threshold a pixel is.
    assert np.mean(differences > 0.05) < 1e-3
