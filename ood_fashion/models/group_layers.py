"""Layers whose outputs turn with the image: convolution, batch normalisation and pooling on the groups p4 and p4m.

T. Cohen and M. Welling, Group Equivariant Convolutional Networks, ICML 2016. An element g = (m, s) of the group acts on
an image by T_g: mirror it left to right if m = 1, then turn it counter-clockwise by s quarter turns. p4 has the four
turns, p4m the four mirrored ones too; (m, s) has the index 4 m + s, and g^-1 (m', s') is
(m xor m', (-1)^m (s' - s) mod 4). A map on the group has a stack of channels for each element, and turns as a whole by

    (L_g F)[h] = T_g F[g^-1 h]                                                          (section 5, equation 15)

that is, each element's channels turn, and move to another element's place. A layer phi is equivariant when
phi(L_g F) = L_g phi(F). That is exact, but for rounding, where windows lie alike seen from every side; a convolution
whose windows do not is refused when it is built.

Maps are float (n, height, width, elements * channels): all channels of the first element, then of the second, and so
on. So the layers that treat channels alike, such as ReLU and max-pooling, serve them as they are.
"""

from __future__ import annotations

from typing import Any

from ood_fashion._tensorflow import keras
from ood_fashion.errors import InvalidValueError
from ood_fashion.models.layer_specs import group_channels, group_order
from ood_fashion.models.patch_layers import Conv2D

ops = keras.ops
Dims = tuple[int | None, ...]


def transform(kernel: Any, element: int) -> Any:
    """Apply T_g to the first two axes, of equal length, for the element g with this index."""
    mirrored, turns = divmod(element, 4)
    kernel = ops.convert_to_tensor(kernel)  # Keras's JAX backend turns no variables
    return ops.rot90(ops.flip(kernel, 1) if mirrored else kernel, turns)


def relative_element(g: int, h: int) -> int:
    """Return the index of g^-1 h."""
    (g_mirrored, g_turns), (h_mirrored, h_turns) = divmod(g, 4), divmod(h, 4)
    turns = g_turns - h_turns if g_mirrored else h_turns - g_turns
    return 4 * (g_mirrored ^ h_mirrored) + turns % 4


class _OnGroup(keras.layers.Layer):
    """A layer on p4, or with `reflections` on p4m."""

    def __init__(self, reflections: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.reflections = reflections

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as JSON values."""
        return {**super().get_config(), "reflections": self.reflections}


@keras.saving.register_keras_serializable("ood_fashion")
class LiftingConv2D(_OnGroup, Conv2D):
    """Correlation of an image f with every kernel psi in all orientations: F[g] = f * T_g psi (equation 10).

    The weights are those of `keras.layers.Conv2D`, kernel (size, size, channels, filters) and bias (filters,), with
    `filters` channels for each group element in the output; it is computed as one convolution with elements * filters
    kernels.
    """

    def __init__(self, filters: int, kernel_size: Any, reflections: bool = False, **options: Any) -> None:
        super().__init__(reflections, filters=filters, kernel_size=kernel_size, **options)
        alike = (*self.kernel_size, *self.strides, *self.dilation_rate)
        if alike[::2] != alike[1::2] or self.groups != 1 or self.data_format != "channels_last":
            raise InvalidValueError(
                f"{self.name}: expected square kernels, strides and dilation, one group of channels and channels last. "
                f"Received: {self.kernel_size}, {self.strides}, {self.dilation_rate}, {self.groups}, "
                f"{self.data_format}."
            )

    def build(self, input_shape: Dims) -> None:
        """Create the weights."""
        window, stride = (self.kernel_size[0] - 1) * self.dilation_rate[0] + 1, self.strides[0]
        for side in input_shape[1:3]:
            if side is None:
                raise InvalidValueError(f"{self.name}: expected a map of known size. Received: {input_shape}.")
            steps, rest = divmod(side - window, stride)
            if self.padding == "same":  # Keras pads one more at the bottom and the right where the sum is odd
                steps = -(-side // stride) - 1
                rest = max(steps * stride + window - side, 0) % 2
            if rest:
                raise InvalidValueError(
                    f"{self.name}: expected a map in which windows of {window} pixels, {stride} apart, lie alike from "
                    f"every side (padding {self.padding}). Received: {side} pixels. Change the size by one."
                )
        super().build(input_shape)

    def filter_bank(self) -> Any:
        """Return the kernels in all orientations: (size, size, channels, elements * filters)."""
        elements = range(group_order(self.reflections))
        return ops.concatenate([transform(self.kernel, g) for g in elements], axis=-1)

    def call(self, inputs: Any) -> Any:
        """Convolve (n, height, width, channels)."""
        outputs = self.convolution_op(inputs, self.filter_bank())
        if self.use_bias:
            outputs += ops.tile(self.bias, [group_order(self.reflections)])
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Dims) -> Dims:
        """Return (n, height', width', elements * filters)."""
        return (*super().compute_output_shape(input_shape)[:-1], group_order(self.reflections) * self.filters)


@keras.saving.register_keras_serializable("ood_fashion")
class GroupConv2D(LiftingConv2D):
    """Correlation on the group: F'[g] = sum over h of F[h] * T_g psi[g^-1 h] (equation 11).

    As `LiftingConv2D`, but the input is a map on the same group; kernel (size, size, elements * channels, filters).
    """

    def build(self, input_shape: Dims) -> None:
        """Create the weights."""
        group_channels(input_shape[-1] or 0, self.reflections, self.name)
        super().build(input_shape)

    def filter_bank(self) -> Any:
        """Return L_g psi for all g: (size, size, elements * channels, elements * filters)."""
        elements = range(group_order(self.reflections))
        parts = ops.split(self.kernel, len(elements), axis=2)
        oriented = [ops.concatenate([parts[relative_element(g, h)] for h in elements], axis=2) for g in elements]
        return ops.concatenate([transform(kernel, g) for g, kernel in zip(elements, oriented, strict=True)], axis=-1)


@keras.saving.register_keras_serializable("ood_fashion")
class GroupBatchNormalization(_OnGroup, keras.layers.BatchNormalization):
    """Batch normalisation with one mean, variance, scale and shift per channel, shared by the group's elements.

    Statistics of each element's own would tell the orientations apart (section 6.2). Where TensorFlow's fused operation
    does not serve, they are gathered for all elements * channels side by side, then put together: a few channels alone
    would leave most of a vector unit idle. For options see `keras.layers.BatchNormalization`; there are no masks.
    """

    def build(self, input_shape: Dims) -> None:
        """Create the weights, (channels,) each."""
        super().build((*input_shape[:-1], group_channels(input_shape[-1] or 0, self.reflections, self.name)))
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={-1: input_shape[-1]})

    def call(self, inputs: Any, training: bool | None = None, mask: Any | None = None) -> Any:
        """Normalise (n, height, width, elements * channels)."""
        order = group_order(self.reflections)
        mean, variance = self.moving_mean, self.moving_variance
        if training and self.trainable:
            if self._can_fuse:
                return self._normalize_fused(inputs)
            if self.synchronized:  # over devices
                means, variances = ops.moments(inputs, [0, 1, 2], synchronized=True)
                squares = variances + ops.square(means)
            else:
                means, squares = (ops.mean(values, [0, 1, 2]) for values in (inputs, ops.square(inputs)))
            mean, square = (ops.mean(ops.reshape(values, (order, -1)), 0) for values in (means, squares))
            variance = ops.maximum(square - ops.square(mean), 0.0)
            self._update(mean, variance)
        factor = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            factor *= ops.cast(self.gamma, factor.dtype)
        offset = -mean * factor
        if self.center:
            offset += ops.cast(self.beta, factor.dtype)
        outputs = ops.cast(inputs, factor.dtype) * ops.tile(factor, [order]) + ops.tile(offset, [order])
        return ops.cast(outputs, inputs.dtype)

    def _update(self, mean: Any, variance: Any) -> None:
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + ops.cast(value, moving.dtype) * (1 - self.momentum))

    @property
    def _can_fuse(self) -> bool:
        """Whether TensorFlow's fused operation serves, which is slow where channels do not fill a vector unit."""
        on_tensorflow = keras.config.backend() == "tensorflow" and self.compute_dtype != "float64"
        return on_tensorflow and not self.synchronized and self.moving_mean.shape[0] % 4 == 0

    def _normalize_fused(self, inputs: Any) -> Any:
        """Normalise a batch by its own statistics in one operation, in half the time that several passes take."""
        from ood_fashion._tensorflow import tf

        _, height, width, channels = inputs.shape
        filters = channels // group_order(self.reflections)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(inputs, (-1, height, width * channels // filters, filters)),
            scale=tf.cast(self.gamma, tf.float32) if self.scale else tf.ones(filters),
            offset=tf.cast(self.beta, tf.float32) if self.center else tf.zeros(filters),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
        )
        count = tf.cast(tf.size(inputs) // filters, variance.dtype)
        self._update(mean, variance * (count - 1) / count)  # what TensorFlow estimates without bias
        return tf.reshape(outputs, (-1, height, width, channels))


@keras.saving.register_keras_serializable("ood_fashion")
class GroupMaxPooling(_OnGroup):
    """The maximum over the group, pixel by pixel: max over g of F[g], an image that turns with the input."""

    def call(self, inputs: Any) -> Any:
        """Pool (n, height, width, elements * channels) to (n, height, width, channels)."""
        height, width, channels = self.compute_output_shape(inputs.shape)[1:]
        return ops.max(ops.reshape(inputs, (-1, height, width, group_order(self.reflections), channels)), axis=3)

    def compute_output_shape(self, input_shape: Dims) -> Dims:
        """Return (n, height, width, channels)."""
        return (*input_shape[:-1], group_channels(input_shape[-1] or 0, self.reflections, self.name))
