"""What convolutions, linear layers and traced matrices do differently: shapes."""

from torch import Tensor, nn

from pipeline.analog.input_vectors import InputVectors


class LayerShape(nn.Module):
    """How a layer's inputs become input vectors of its matrix, and its columns the layer's outputs."""

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's product of an input and a weight in plain torch."""
        raise NotImplementedError

    def products(self, x: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
        """`product` of each chip's images with that chip's weights."""
        raise NotImplementedError

    def input_vectors(self, codes: Tensor) -> InputVectors:
        """The input vectors of the crossbars; `codes` have the layer's input shape."""
        raise NotImplementedError

    def from_windows(self, y: Tensor, x: Tensor) -> Tensor:
        """(images, windows, out_channels) -> the layer's output shape for input x."""
        raise NotImplementedError

    def to_windows(self, y: Tensor) -> Tensor:
        """The inverse of `from_windows`."""
        raise NotImplementedError

    def read_power(self, codes: Tensor) -> Tensor:
        """Sum of `adc.cycle_power` over each input vector, (images, windows, 1)."""
        raise NotImplementedError
