"""A layer of matrix-vector products: the input of the mapping and the cost model."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MvmLayer:
    """A convolution or a fully connected layer, unrolled into matrix-vector products.

    Attributes:
        name: Label, such as `conv1`.
        in_height, in_width, in_channels: Input feature map; 1, 1, n for a fully connected layer with n inputs.
        kernel: Side of the square kernel; 1 for a fully connected layer.
        out_channels: Filters.
        windows: Input vectors of one inference: the output pixels of a convolution before pooling, 1 for a fully
            connected layer.
        pooled: Whether a 2 x 2 max pooling follows.
        relu: Whether a ReLU follows.
        weight_bits: Bits of this layer's weights; None takes the accelerator's.
        counted_windows: Windows in `macs`; None takes `windows`. Only NeuroSim's networks need it: NeuroSim runs the
            windows inside the image but counts those of a padded image (docs/cost_model.md).

    Raises:
        ValueError: If a size is below 1.
    """

    name: str
    in_height: int
    in_width: int
    in_channels: int
    kernel: int
    out_channels: int
    windows: int
    pooled: bool = False
    relu: bool = True
    weight_bits: int | None = None
    counted_windows: int | None = None

    def __post_init__(self) -> None:
        for field in ("in_height", "in_width", "in_channels", "kernel", "out_channels", "windows"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} of layer {self.name!r} must be 1 or more, got {getattr(self, field)}")

    @property
    def rows(self) -> int:
        """Rows of the unrolled weight matrix, which are the inputs of one matrix-vector product."""
        return self.in_channels * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one inference."""
        return (self.counted_windows or self.windows) * self.rows * self.out_channels
