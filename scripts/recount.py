"""Count a trained model's right answers again, with none of the package but its layers.

The images are read from their files, moved by slices, turned by NumPy and SciPy, and scored by Keras's own `predict`.
Angles between the quarter turns are bilinear, with zeros outside, about the image's centre.

Usage: python scripts/recount.py MODEL.keras [FOLDER]      FOLDER has t10k-images-idx3-ubyte.gz and the labels
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from scipy import ndimage

import ood_fashion.models.blur_pool
import ood_fashion.models.group_layers
import ood_fashion.models.photometric  # noqa: F401  # Keras finds the layers of all three by their names


def read(path: Path) -> np.ndarray:
    """Read an IDX file of bytes."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def shifted(images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Give the assignment's five test sets, then every 15 degrees."""
    yield "in-domain", images
    yield "up 4", np.concatenate([images[:, 4:], np.zeros_like(images[:, :4])], axis=1)
    for quarters in (1, 2, 3):
        yield f"rotated {90 * quarters}", np.rot90(images, quarters, axes=(1, 2))
    for degrees in range(15, 360, 15):
        if degrees % 90:
            turned = ndimage.rotate(images, degrees, axes=(2, 1), reshape=False, order=1, mode="grid-constant")
            yield f"rotated {degrees}", turned


def main(model_file: str, folder: str = "/usr/share/datasets/fashion-mnist") -> None:
    """Print the accuracy on each set, and the mean over the angles."""
    model = keras.models.load_model(model_file, compile=False)
    images = read(Path(folder, "t10k-images-idx3-ubyte.gz")).astype(np.float32)
    labels = read(Path(folder, "t10k-labels-idx1-ubyte.gz"))
    turned = []
    for name, pixels in shifted(images):
        scores = model.predict(pixels[..., np.newaxis] / 255, batch_size=500, verbose=0)
        accuracy = float((scores.argmax(axis=1) == labels).mean())
        print(f"{name:12} {accuracy:.4f}", flush=True)
        if name.startswith("rotated"):
            turned.append(accuracy)
    print(f"{'every angle':12} {np.mean(turned):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
