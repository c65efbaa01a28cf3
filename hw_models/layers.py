"""One matrix-vector layer, as the mapping and the cost model see it."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MvmLayer:
    """A convolution or a fully connected layer, unrolled into matrix-vector products.

    Attributes:
        name: Label in reports, such as `conv1`.
        in_height, in_width, in_channels: Input feature map; 1, 1, n for a fully connected layer of n inputs.
        kernel: Side of the square kernel; 1 for a fully connected layer.
        out_channels: Filters.
        windows: Input vectors that one inference sends through the crossbars: output pixels of a convolution
            (before pooling), 1 for a fully connected layer.
        pooled: A 2x2 max pooling follows.
        relu: A rectifier follows.
        weight_bits: Bits of this layer's weights; None takes the accelerator's.
        counted_windows: Windows whose operations count as work done; None: `windows`. Only the reference table needs
            it: its tool runs the windows inside the image but counts those of a padded one, too (docs/cost_model.md).
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
        """Rows of the unrolled weight matrix: inputs of one matrix-vector product."""
        return self.in_channels * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one inference."""
        return (self.counted_windows or self.windows) * self.rows * self.out_channels
