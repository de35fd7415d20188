"""What the corruptions do to pixels, one function each, vectorised over a batch.

Every function takes images, float32 (n, height, width) in [0, 1], a `Draw` of random numbers, and its parameters; it
returns floats of the same shape, which its caller clips to [0, 1]. Lengths are in pixels of a 28x28 image, and grow
and shrink with the smaller side of others. Outside the image all is 0. No image depends on the others in the batch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.shifts.affine import Floats, SourceMap

PixelOp = Callable[..., Floats]

NOMINAL_SIDE = 28
MOTION_DIRECTIONS, ZOOM_LEVELS, MAX_LINES = 32, 11, 5
FOG_EXPONENT, ELASTIC_SIGMA = 1.5, 3
SPATTER_GREY, SPATTER_SIGMA, SPATTER_RIM = 0.5, 1.2, 0.4
ZIGZAG_AMPLITUDE, ZIGZAG_PERIOD = 2, 8
_TINY = np.finfo(float).tiny


class Draw:
    """Random numbers for a batch, from a generator of each image's own.

    Image i's generator is NumPy's counter-based Philox (Salmon et al., SC 2011) with `key` as its key and i as its
    counter, so that its numbers depend on neither the batch nor the order.
    """

    def __init__(self, key: tuple[int, int], indices: NDArray[np.integer[Any]]) -> None:
        keys = np.array(key, np.uint64)
        self._generators = [
            np.random.Generator(np.random.Philox(key=keys, counter=np.array([0, 0, 0, i], np.uint64))) for i in indices
        ]

    def __call__(self, sample: Callable[[np.random.Generator], Any]) -> NDArray[Any]:
        """Stack a sample per image. A second call goes on where the first ended."""
        return np.stack([sample(generator) for generator in self._generators])


def _scale(images: Floats) -> float:
    """Return how long a nominal pixel is in these images."""
    return float(min(images.shape[1:])) / NOMINAL_SIDE


def gaussian_noise(images: Floats, draw: Draw, sigma: float) -> Floats:
    """Add normal noise of standard deviation `sigma`."""
    return images + sigma * draw(lambda rng: rng.standard_normal(images.shape[1:], np.float32))


def shot_noise(images: Floats, draw: Draw, photons: float) -> Floats:
    """Count photons: a Poisson variate of mean `photons` times the pixel, over `photons`."""
    rates = iter(images * photons)
    return np.asarray(draw(lambda rng: rng.poisson(next(rates))) / photons)


def impulse_noise(images: Floats, draw: Draw, fraction: float) -> Floats:
    """Set a fraction of the pixels, half of them to 0 and half to 1."""
    uniform = draw(lambda rng: rng.random(images.shape[1:], np.float32))
    return np.where(uniform < fraction / 2, 0, np.where(uniform >= 1 - fraction / 2, 1, images))


def gaussian_blur(images: Floats, draw: Draw, sigma: float) -> Floats:
    """Blur by a Gaussian of standard deviation `sigma`."""
    return _smooth(images, sigma * _scale(images), mode="constant")


def _smooth(images: Floats, sigma: float, mode: str) -> Floats:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(images, (0, sigma, sigma), mode=mode))


def _convolve(images: Floats, kernel: Floats) -> Floats:
    from scipy import ndimage

    return np.asarray(ndimage.convolve(images, kernel[np.newaxis] / kernel.sum(), mode="constant"))


def defocus_blur(images: Floats, draw: Draw, radius: float) -> Floats:
    """Spread every pixel over a disk of this radius with a soft rim one pixel wide."""
    radius *= _scale(images)
    reach = np.arange(-int(radius + 0.5), int(radius + 0.5) + 1)
    return _convolve(images, np.clip(radius + 0.5 - np.hypot(reach[:, np.newaxis], reach), 0, 1))


def motion_blur(images: Floats, draw: Draw, length: float) -> Floats:
    """Move the camera straight on by `length` during the exposure, in one of 32 directions in half a circle."""
    length *= _scale(images)
    blurred = np.empty_like(images)
    directions = draw(lambda rng: rng.integers(MOTION_DIRECTIONS))
    for direction in np.unique(directions):
        kernel = _line_kernel(length, np.pi * float(direction) / MOTION_DIRECTIONS)
        blurred[directions == direction] = _convolve(images[directions == direction], kernel)
    return blurred


def _line_kernel(length: float, angle: float) -> Floats:
    """Draw a line through a kernel's centre: points close to one another, each shared out among four pixels."""
    along = np.linspace(-length / 2, length / 2, 4 * int(np.ceil(length)) + 1)
    reach = int(np.ceil(length / 2)) + 1
    rows, columns = reach - along * np.sin(angle), reach + along * np.cos(angle)
    grid = np.arange(2 * reach + 1)
    near_rows = np.clip(1 - abs(grid - rows[:, np.newaxis]), 0, None)
    near_columns = np.clip(1 - abs(grid - columns[:, np.newaxis]), 0, None)
    return np.asarray(near_rows.T @ near_columns)


def glass_blur(images: Floats, draw: Draw, sigma: float, distance: float, share: float) -> Floats:
    """Blur, swap a share of the pixels in turn with one up to `distance` away in each axis, and blur again."""
    height, width = images.shape[1:]
    size = height * width
    sigma, most = sigma * _scale(images), max(1, round(distance * _scale(images)))
    chosen = draw(lambda rng: rng.random(size)) < share
    moves = draw(lambda rng: rng.integers(-most, most, (size, 2), endpoint=True)) * chosen[..., np.newaxis]
    rows, columns = np.indices((height, width)).reshape(2, -1)
    others = np.clip(rows + moves[..., 0], 0, height - 1) * width + np.clip(columns + moves[..., 1], 0, width - 1)
    pixels = _smooth(images, sigma, "constant").reshape(-1, size)
    every = np.arange(len(images))
    for here in range(size):
        there = others[:, here]
        swapped = pixels[every, there]
        pixels[every, there] = pixels[:, here]
        pixels[:, here] = swapped
    return _smooth(pixels.reshape(images.shape), sigma, "constant")


def zoom_blur(images: Floats, draw: Draw, largest: float) -> Floats:
    """Average the image enlarged by 11 factors from 1 to `largest`."""
    from scipy import sparse

    height, width = images.shape[1:]
    size = height * width
    total = sparse.csr_array((size, size), dtype=np.float32)
    for factor in np.linspace(1, largest, ZOOM_LEVELS):
        indices, weights = SourceMap.about_centre(((1 / factor, 0), (0, 1 / factor)), height, width).taps(height, width)
        rows = np.broadcast_to(np.arange(size), indices.shape)
        total += sparse.csr_array((weights.ravel(), (rows.ravel(), indices.ravel())), shape=(size, size))
    return np.asarray((total @ images.reshape(-1, size).T).T.reshape(images.shape) / ZOOM_LEVELS)


def brightness(images: Floats, draw: Draw, added: float) -> Floats:
    """Add the same to every pixel."""
    return images + added


def contrast(images: Floats, draw: Draw, kept: float) -> Floats:
    """Pull every pixel towards the image's mean, so that this share of its difference is kept."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    return np.asarray((images - mean) * kept + mean)


def fog(images: Floats, draw: Draw, amount: float) -> Floats:
    """Put fog of 1 to `amount` parts in front of the image: noise with an amplitude of frequency^-1.5, from 0 to 1."""
    from scipy import fft

    height, width = images.shape[1:]
    frequency = np.hypot(fft.fftfreq(height)[:, np.newaxis], fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # a constant would be taken away again
    white = draw(lambda rng: rng.standard_normal((height, width)))
    cloud = fft.irfft2(fft.rfft2(white) * frequency**-FOG_EXPONENT, s=(height, width))
    cloud -= cloud.min(axis=(1, 2), keepdims=True)
    cloud /= np.maximum(cloud.max(axis=(1, 2), keepdims=True), _TINY)
    return np.asarray((images + amount * cloud) / (1 + amount))


def spatter(images: Floats, draw: Draw, threshold: float) -> Floats:
    """Cover the image with grey drops where smooth noise of unit variance is above `threshold`."""
    noise = _smooth(draw(lambda rng: rng.standard_normal(images.shape[1:])), SPATTER_SIGMA * _scale(images), "wrap")
    noise /= np.maximum(noise.std(axis=(1, 2), keepdims=True), _TINY)
    cover = np.clip((noise - threshold) / SPATTER_RIM, 0, 1)
    return np.asarray(images * (1 - cover) + SPATTER_GREY * cover)


def stripe(images: Floats, draw: Draw, columns: float) -> Floats:
    """Invert so many columns at the left and as many at the right."""
    width = images.shape[2]
    reach = round(columns * _scale(images))
    position = np.arange(width)
    return np.where((position < reach) | (position >= width - reach), 1 - images, images)


def dotted_line(images: Floats, draw: Draw, lines: int) -> Floats:
    """Draw white dotted lines from a random height at the left to another at the right."""
    height, width = images.shape[1:]
    ends = draw(lambda rng: rng.uniform(0, height - 1, (MAX_LINES, 2)))[:, :lines]
    slopes = (ends[..., 1] - ends[..., 0]) / max(width - 1, 1)
    columns = np.arange(width)
    dots = columns / _scale(images) % 4 >= 2
    curves = ends[..., :1] + slopes[..., np.newaxis] * columns
    return _with_curves(images, curves, np.hypot(1, slopes), dots)


def zigzag(images: Floats, draw: Draw, lines: int) -> Floats:
    """Draw white zigzag lines across the image: 2 up and 2 down every 8 pixels, with a slight slope."""
    height, width = images.shape[1:]
    scale = _scale(images)
    starts = draw(lambda rng: rng.uniform(0, height - 1, (MAX_LINES, 1)))[:, :lines]
    rises = scale * draw(lambda rng: rng.uniform(-5, 5, (MAX_LINES, 1)))[:, :lines]
    columns = np.arange(width) / scale
    wave = ZIGZAG_AMPLITUDE * (1 - 4 * abs(columns / ZIGZAG_PERIOD % 1 - 0.5))
    curves = starts + rises * columns / NOMINAL_SIDE + scale * wave
    slope = 4 * ZIGZAG_AMPLITUDE / ZIGZAG_PERIOD
    return _with_curves(images, curves, np.hypot(1, np.full(starts.shape[:2], slope)), np.ones(width, bool))


def _with_curves(images: Floats, curves: Floats, stretch: Floats, drawn: NDArray[np.bool_]) -> Floats:
    """Add white strokes two pixels wide with a soft rim, in the columns that are `drawn`, (width,).

    `curves` has each stroke's row at every column, (n, strokes, width), and `stretch` how many times longer than wide a
    stroke runs, (n, strokes): rows to distances.
    """
    scale, rows = _scale(images), np.arange(images.shape[1])[:, np.newaxis]
    inked = images.copy()
    for curve, factor in zip(np.moveaxis(curves, 1, 0), stretch.T, strict=True):
        distance = abs(rows - curve[:, np.newaxis]) / factor[:, np.newaxis, np.newaxis]
        inked += (np.clip(1.5 - distance / scale, 0, 1) * drawn).astype(np.float32)
    return inked


def canny_edges(images: Floats, draw: Draw, blend: float) -> Floats:
    """Blend the image with its edges (Canny, PAMI 8:679, 1986), as scikit-image finds them."""
    from skimage.feature import canny

    sigma = max(1.0, _scale(images))
    margin = int(4 * sigma + 0.5) + 2  # what the filters reach, so that images in one column do not meet
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
    edges = canny(padded.reshape(-1, padded.shape[2]), sigma).reshape(padded.shape)
    return np.asarray((1 - blend) * images + blend * edges[:, margin:-margin, margin:-margin])


def _each(images: Floats, transform: Callable[[Any], Any]) -> Floats:
    """Apply a function to each image as Pillow's, of 8 bits."""
    from PIL import Image

    levels = np.rint(images * 255).astype(np.uint8)
    return np.stack([np.asarray(transform(Image.fromarray(level))) for level in levels]).astype(np.float32) / 255


def pixelate(images: Floats, draw: Draw, factor: float) -> Floats:
    """Shrink by averaging, then enlarge to the old size."""
    from PIL import Image

    height, width = images.shape[1:]
    small = max(1, round(factor * width)), max(1, round(factor * height))
    box = Image.Resampling.BOX
    return _each(images, lambda image: image.resize(small, box).resize((width, height), box))


def jpeg(images: Floats, draw: Draw, quality: int) -> Floats:
    """Compress as JPEG of this quality."""
    from PIL import Image

    def compress(image: Any) -> Any:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(images, compress)


def elastic(images: Floats, draw: Draw, distance: float) -> Floats:
    """Displace pixels by smooth noise of root mean square `distance` an axis (Simard et al., ICDAR 2003)."""
    from scipy import ndimage

    n, height, width = images.shape
    noise = draw(lambda rng: rng.standard_normal((2, height, width))).reshape(-1, height, width)
    field = _smooth(noise, ELASTIC_SIGMA * _scale(images), "wrap")
    field *= distance * _scale(images) / np.maximum(np.sqrt((field**2).mean(axis=(1, 2), keepdims=True)), _TINY)
    rows, columns = np.moveaxis(field.reshape(n, 2, height, width), 1, 0) + np.indices((height, width))[:, np.newaxis]
    image = np.broadcast_to(np.arange(n)[:, np.newaxis, np.newaxis], images.shape)
    return np.asarray(ndimage.map_coordinates(images, (image, rows, columns), order=1, mode="grid-constant"))


def erase(images: Floats, draw: Draw, side: float) -> Floats:
    """Blacken a square, its side a share of the image's, about a random pixel; what hangs over the border is lost."""
    height, width = images.shape[1:]
    centre = draw(lambda rng: rng.uniform(0, (height, width)))
    half = side * min(height, width) / 2
    near_rows = abs(np.arange(height) + 0.5 - centre[:, :1]) < half
    near_columns = abs(np.arange(width) + 0.5 - centre[:, 1:]) < half
    return np.where(near_rows[:, :, np.newaxis] & near_columns[:, np.newaxis, :], 0, images)
