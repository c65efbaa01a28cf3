"""A layer of matrix-vector products: the input of the mapping and the cost model."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MvmLayer:
    """A convolution or a fully connected layer, unrolled into matrix-vector products.

    A transposed convolution has kernel 1: its matrix has a column for each filter and kernel position, and an input
    vector for each input pixel. Digital units add the overlapping results.

    Attributes:
        name: Label, such as `conv1`.
        in_height, in_width, in_channels: Input feature map; 1, 1, n for a fully connected layer with n inputs. A
            sequence has height 1; the height of a volume is its depth x height.
        kernel: Side of a square kernel, or a tuple of the sides, such as (3, 5), (7,) or (3, 3, 3); 1 for a fully
            connected layer. Two equal sides become one number, and so do sides of 1.
        out_channels: Filters, of all groups.
        windows: Input vectors of one inference, over all uses of the matrix: the output pixels of a convolution before
            pooling, 1 for a fully connected layer.
        pooled: Whether a 2 x 2 max pooling follows.
        relu: Whether a ReLU follows.
        weight_bits: Bits of this layer's weights; None takes the accelerator's.
        counted_windows: Windows in `macs`; None takes `windows`. Only NeuroSim's networks need it: NeuroSim runs the
            windows inside the image but counts those of a padded image (docs/cost_model.md).
        groups: As in torch.nn.Conv2d: `groups` matrices, each of which has its own share of the input channels and of
            the filters, one after the other; `in_channels` for a depthwise convolution.
        windows_overlap: Whether neighbouring windows share inputs, which the novel mapping reuses. False where the
            stride is at least the kernel, as in the patches of a transformer.

    Raises:
        ValueError: If a size is below 1, or `groups` does not divide `in_channels` and `out_channels`.
    """

    name: str
    in_height: int
    in_width: int
    in_channels: int
    kernel: int | tuple[int, ...]
    out_channels: int
    windows: int
    pooled: bool = False
    relu: bool = True
    weight_bits: int | None = None
    counted_windows: int | None = None
    groups: int = 1
    windows_overlap: bool = True

    def __post_init__(self) -> None:
        for field in ("in_height", "in_width", "in_channels", "out_channels", "windows", "groups"):
            self._check(field, getattr(self, field))
        if isinstance(self.kernel, int):
            self._check("kernel", self.kernel)
        else:
            object.__setattr__(self, "kernel", self._normalised(tuple(self.kernel)))
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(
                    f"{field} of layer {self.name!r} must be a multiple of its {self.groups} groups, "
                    f"got {getattr(self, field)}"
                )

    def _check(self, field: str, value: int) -> None:
        if value < 1:
            raise ValueError(f"{field} of layer {self.name!r} must be 1 or more, got {value}")

    def _normalised(self, sides: tuple[int, ...]) -> int | tuple[int, ...]:
        if not sides:
            raise ValueError(f"kernel of layer {self.name!r} must have at least one side; use 1 for a linear layer")
        for side in sides:
            self._check("kernel", side)
        return sides[0] if max(sides) == 1 or (len(sides) == 2 and sides[0] == sides[1]) else sides

    @property
    def kernel_sides(self) -> tuple[int, ...]:
        """Sides of the kernel: two equal ones if `kernel` is a number."""
        return (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel

    @property
    def square_kernel(self) -> int:
        """Side of a square kernel.

        Raises:
            ValueError: If the kernel is not square.
        """
        if isinstance(self.kernel, int):
            return self.kernel
        raise ValueError(f"layer {self.name!r} must have a square kernel here, got sides {self.kernel}")

    @property
    def positions(self) -> int:
        """Kernel positions: the product of the kernel's sides."""
        return self.kernel**2 if isinstance(self.kernel, int) else math.prod(self.kernel)

    @property
    def rows(self) -> int:
        """Rows of the unrolled weight matrix of one group, which are the inputs of one matrix-vector product."""
        return self.in_channels // self.groups * self.positions

    @property
    def inputs(self) -> int:
        """Inputs of one window, of all groups: `groups` x `rows`."""
        return self.in_channels * self.positions

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one inference."""
        return (self.counted_windows or self.windows) * self.rows * self.out_channels
