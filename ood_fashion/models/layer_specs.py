"""Layers as data: what each does to a shape, and its parameter count in closed form.

Nothing here knows Keras; `ood_fashion.models.build` builds the Keras layer that a description stands for.
Shapes leave out the batch axis and have the channels last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from ood_fashion.errors import InvalidValueError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters a layer has, and the formula that says so."""

    formula: str
    value: int


def _affine_count(fan_in: Shape, units: int) -> ParameterCount:
    """Count a layer in which each of `units` outputs has one weight per input and a bias: (fan_in + 1) * units."""
    return ParameterCount(f"({'*'.join(map(str, fan_in))}+1)*{units}", (math.prod(fan_in) + 1) * units)


def _linear_count(*factors: int) -> ParameterCount:
    return ParameterCount("*".join(map(str, factors)), math.prod(factors))


def _window_output(shape: Shape, window: int, stride: int, layer: str) -> tuple[int, int]:
    """Return the height and width of the map that a square window makes, sliding over `shape` without padding."""
    if len(shape) != 3:
        raise InvalidValueError(f"{layer}: expected an input of shape (height, width, channels). Received: {shape}.")
    height, width, _ = shape
    if min(height, width) < window:
        raise InvalidValueError(
            f"{layer}: expected an input of at least {window}x{window} pixels. Received: {height}x{width}. "
            "Use larger images or a model with smaller windows."
        )
    return (height - window) // stride + 1, (width - window) // stride + 1


class Layer(ABC):
    """What a layer does to a shape, and how many parameters that takes; none unless it says otherwise."""

    name: ClassVar[str]

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """Return the output's shape for an input of `shape`."""

    def parameters(self, shape: Shape) -> ParameterCount:
        """Count the parameters for an input of `shape`."""
        return ParameterCount("", 0)

    def multiply_adds(self, shape: Shape) -> int:
        """Count the products that are summed for one input of `shape`; what is not a matrix product counts as none."""
        return 0

    def leftover(self, shape: Shape) -> int:
        """Say how many rows or columns no window reaches, at the bottom or the right of an input of `shape`."""
        return 0


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes in one."""

    name = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (the product of all axes,)."""
        return (math.prod(shape),)


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected, with bias, then ReLU."""

    units: int
    name = "dense"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (units,)."""
        return (self.units,)

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return (inputs + 1) * units."""
        return _affine_count(shape, self.units)

    def multiply_adds(self, shape: Shape) -> int:
        """Return inputs * units."""
        return math.prod(shape) * self.units


@dataclass(frozen=True)
class Logits(Dense):
    """Fully connected, with bias, linear: a score per class."""

    name = "logits"


@dataclass(frozen=True)
class Conv2D(Layer):
    """Convolution with square kernels, stride 1, no padding, with bias, then ReLU."""

    filters: int
    kernel_size: int
    name = "conv2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height - kernel + 1, width - kernel + 1, filters)."""
        return (*_window_output(shape, self.kernel_size, 1, self.name), self.filters)

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return (kernel * kernel * channels + 1) * filters."""
        return _affine_count((self.kernel_size, self.kernel_size, shape[-1]), self.filters)

    def multiply_adds(self, shape: Shape) -> int:
        """Return the output's values * kernel * kernel * channels."""
        return math.prod(self.output_shape(shape)) * self.kernel_size**2 * shape[-1]


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """Maximum over squares that do not overlap; rows and columns left over are dropped."""

    pool_size: int = 2
    name = "max_pool2d"
    blur: ClassVar[int] = 0
    """By how many pixels the squares that are seen are larger than the stride."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return ((height - pool - blur) // pool + 1, (width - pool - blur) // pool + 1, channels)."""
        return (*_window_output(shape, self.pool_size + self.blur, self.pool_size, self.name), shape[-1])

    def leftover(self, shape: Shape) -> int:
        """Return the larger rest of height - blur and width - blur modulo pool."""
        return max((side - self.blur) % self.pool_size for side in shape[:2])


@dataclass(frozen=True)
class AveragePool2D(MaxPool2D):
    """Mean over squares that do not overlap; rows and columns left over are dropped."""

    name = "average_pool2d"


@dataclass(frozen=True)
class MaxBlurPool2D(MaxPool2D):
    """Maximum over all squares, a blur by [1, 2, 1] in both axes, then every pool-th pixel (Zhang, ICML 2019).

    The three see squares of pool + 2 pixels together, a stride of pool apart.
    """

    name = "max_blur_pool2d"
    blur = 2


@dataclass(frozen=True)
class ZeroPad2D(Layer):
    """Zeros around the map, so many on each side."""

    padding: int
    name = "zero_pad2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height + 2 * padding, width + 2 * padding, channels)."""
        height, width = _window_output(shape, 1, 1, self.name)
        return (height + 2 * self.padding, width + 2 * self.padding, shape[-1])


@dataclass(frozen=True)
class GlobalMaxPool2D(Layer):
    """Each channel's maximum over the map."""

    name = "global_max_pool2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (channels,)."""
        _window_output(shape, 1, 1, self.name)
        return shape[-1:]


@dataclass(frozen=True)
class GlobalAveragePool2D(GlobalMaxPool2D):
    """Each channel's mean over the map."""

    name = "global_average_pool2d"


@dataclass(frozen=True)
class ReLU(Layer):
    """max(0, x)."""

    name = "relu"

    def output_shape(self, shape: Shape) -> Shape:
        """Return the input's shape."""
        return shape


@dataclass(frozen=True)
class Add(ReLU):
    """The input plus what was the input of the layer so many places before (He et al., CVPR 2016)."""

    back: int
    name = "add"


@dataclass(frozen=True)
class PhotometricNorm(ReLU):
    """Grey levels from the background, in units of the image's range."""

    name = "photometric_norm"


@dataclass(frozen=True)
class BatchNorm(ReLU):
    """Batch normalisation of each channel (Ioffe and Szegedy, ICML 2015).

    Its parameters are a scale and a shift, which are trained, and a moving mean and variance, which are not; Keras
    counts all four, and so does this.
    """

    name = "batch_norm"

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return (2 + 2) * channels."""
        return ParameterCount(f"(2+2)*{shape[-1]}", 4 * shape[-1])


def group_order(reflections: bool) -> int:
    """Return the number of elements of p4's quarter turns, 4, or of p4m's turns and reflections, 8."""
    return 8 if reflections else 4


def group_channels(channels: int, reflections: bool, layer: str) -> int:
    """Return how many channels each group element has in a map on the group with so many channels in all."""
    order = group_order(reflections)
    if channels % order:
        raise InvalidValueError(
            f"{layer}: expected a map on the group, with a multiple of {order} channels. Received: {channels}. "
            "Put a lifting convolution before it."
        )
    return channels // order


@dataclass(frozen=True)
class LinearConv2D(Conv2D):
    """Convolution with square kernels, stride 1, without bias, linear: for batch normalisation and ReLU.

    Padding is "valid", none, or "same", zeros around the map that keep its size.
    """

    padding: str = field(default="valid", kw_only=True)
    name = "linear_conv2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height - kernel + 1, width - kernel + 1, filters), or with "same" (height, width, filters)."""
        window = 1 if self.padding == "same" else self.kernel_size
        return (*_window_output(shape, window, 1, self.name), self.filters)

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return kernel * kernel * channels * filters."""
        return _linear_count(self.kernel_size, self.kernel_size, shape[-1], self.filters)


@dataclass(frozen=True)
class LiftingConv2D(LinearConv2D):
    """Convolution with each kernel in all its orientations, without bias: from images to maps on the group.

    The orientations are the quarter turns (p4), with `reflections` also the mirrored ones (p4m). The output's channels
    are those of the first group element, then those of the second, and so on.
    """

    reflections: bool = False
    name = "lifting_conv2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return as many channels as there are elements * filters."""
        return (*super().output_shape(shape)[:-1], group_order(self.reflections) * self.filters)


@dataclass(frozen=True)
class GroupConv2D(LiftingConv2D):
    """Convolution over the group and the plane, without bias: from maps on the group to maps on the group."""

    name = "group_conv2d"

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return kernel * kernel * elements * channels * filters."""
        order, channels = group_order(self.reflections), group_channels(shape[-1], self.reflections, self.name)
        return _linear_count(self.kernel_size, self.kernel_size, order, channels, self.filters)


@dataclass(frozen=True)
class GroupBatchNorm(BatchNorm):
    """Batch normalisation of each channel over all group elements."""

    reflections: bool = False
    name = "group_batch_norm"

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return (2 + 2) * channels, with the channels of one group element."""
        return super().parameters((group_channels(shape[-1], self.reflections, self.name),))


@dataclass(frozen=True)
class GroupMaxPool(Layer):
    """Each channel's maximum over the group elements, pixel by pixel: from maps on the group to images."""

    reflections: bool = False
    name = "group_max_pool"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height, width, channels of one group element)."""
        return (*shape[:-1], group_channels(shape[-1], self.reflections, self.name))
