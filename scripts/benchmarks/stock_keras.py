"""Does with stock Keras alone what `ood-fashion train` does: `scripts/benchmarks/benchmark.py process` times the two.

Usage: python scripts/benchmarks/stock_keras.py mlp|cnn2|cnn3 EPOCHS
"""

import gzip
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

FOLDER = Path("/usr/share/datasets/fashion-mnist")
MODELS = {
    "mlp": [layers.Flatten(), layers.Dense(128, activation="relu")],
    "cnn2": [layers.Conv2D(64, 7, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()],
    "cnn3": [
        layers.Conv2D(64, 7, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(128, 2, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
    ],
}


def read(stem: str, header: int) -> np.ndarray:
    """Read an IDX file's bytes behind its header."""
    return np.frombuffer(gzip.decompress((FOLDER / f"{stem}-ubyte.gz").read_bytes()), np.uint8, offset=header)


images, labels = read("train-images-idx3", 16).reshape(-1, 28, 28, 1), read("train-labels-idx1", 8)
test_images, test_labels = read("t10k-images-idx3", 16).reshape(-1, 28, 28, 1), read("t10k-labels-idx1", 8)
x, x_test = images[:12_000].astype(np.float32) / 255, test_images.astype(np.float32) / 255

keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((28, 28, 1)), *MODELS[sys.argv[1]], layers.Dense(10)])
model.compile(
    keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
)
model.fit(
    x[:10_000],
    labels[:10_000],
    batch_size=5,
    epochs=int(sys.argv[2]),
    validation_data=(x[10_000:], labels[10_000:12_000]),
    validation_batch_size=500,
    verbose=0,
)
shifted = {"none": x_test, "up4": np.concatenate([x_test[:, 4:], np.zeros_like(x_test[:, :4])], axis=1)}
shifted |= {f"rotate{90 * k}": np.rot90(x_test, k, axes=(1, 2)) for k in (1, 2, 3)}
for name, images in shifted.items():
    print(name, model.evaluate(images, test_labels, batch_size=500, verbose=0)[1])
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model.keras")
