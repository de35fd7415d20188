"""The models under Keras's other backends, each in a process of its own where it is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ood_fashion.models.build import build_model
from ood_fashion.models.specs import MODELS

COMPUTE = """
import sys
import numpy as np
from ood_fashion.models.build import build_model
from ood_fashion._tensorflow import keras

folder, names = sys.argv[1], sys.argv[2:]
assert "tensorflow" not in sys.modules
for name in names:
    saved = np.load(f"{folder}/{name}.npz")
    model = build_model(name)
    model.set_weights([saved[str(i)] for i in range(len(model.weights))])
    outputs = {mode: model(saved["images"], training=mode == "train") for mode in ("test", "train")}
    np.savez(f"{folder}/{name}-out.npz", **{mode: keras.ops.convert_to_numpy(value) for mode, value in outputs.items()})
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_gives_the_same_outputs(tmp_path: Path, backend: str) -> None:
    # Promised where another backend is installed, and the extra `test` installs neither: PyTorch takes gigabytes,
    # and JAX shares packages with TensorFlow, whose versions it would decide. With the extra `bench` both cases run.
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: the extra bench has it, the extra test does not")
    rng = np.random.default_rng(0)
    images = rng.random((6, 28, 28, 1), np.float32)
    expected = {}
    for name in MODELS:
        model = build_model(name)
        model.set_weights([rng.uniform(-0.2, 0.3, w.shape) + ("variance" in w.path) for w in model.weights])
        weights = {str(i): weight for i, weight in enumerate(model.get_weights())}
        np.savez(tmp_path / f"{name}.npz", images=images, **weights)
        expected[name] = {"test": model(images).numpy(), "train": model(images, training=True).numpy()}
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", COMPUTE, tmp_path, *MODELS], env=environment, check=True)
    for name, outputs in expected.items():
        received = np.load(tmp_path / f"{name}-out.npz")
        for mode, values in outputs.items():
            np.testing.assert_allclose(received[mode], values, rtol=0, atol=1e-5 * max(1, np.abs(values).max()))
