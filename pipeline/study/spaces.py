"""What is searched: hardware and network. Each entry is one value (fixed), a list of choices, or {low, high, step}."""

import dataclasses

from pydantic import Field, model_validator

from hw_models.accelerator import Accelerator
from hw_models.devices import load_card
from hw_models.errors import InfeasibleDesign
from pipeline.strict_model import StrictModel
from pipeline.study.dimension import Dimension, Flag, Text, Whole, WholeOrAbsent, WholeOrZero


class HardwareSpace(StrictModel):
    """The hardware. Each entry is one value (fixed), a list of choices, or {low, high, step}."""

    device: Text = Field(
        description="Names of nacim's cards (`nacim devices` lists them), or paths of card files (.yaml)."
    )
    tech_node_nm: Whole = Dimension((22,))
    crossbar_size: Whole = Dimension((128,))
    adc_bits: WholeOrZero = Dimension((8,))
    adc_type: Text = Dimension(("sar",))
    cols_per_adc: Whole = Dimension((8,))
    cell_bits: Whole = Field(
        Dimension((1,)), description="Bits of a cell. A device that holds fewer is used with what it holds."
    )
    weight_bits: Whole = Field(
        Dimension((8,)), description="Bits of a weight; layers with a weight_format take theirs."
    )
    weight_encoding: Text = Dimension(("offset",))
    input_bits: Whole = Dimension((8,))
    mapping: Text = Dimension(("novel",))

    @model_validator(mode="after")
    def _each_value_is_possible(self) -> "HardwareSpace":
        large = Accelerator(
            device=load_card("fefet").device, crossbar_size=1024, cell_bits=1, weight_bits=8, input_bits=8, adc_bits=8
        )
        for name in [field for field in type(self).model_fields if field != "device"]:
            for value in getattr(self, name).values:
                try:
                    dataclasses.replace(large, **{name: value})
                except InfeasibleDesign:  # possible, but not on this chip
                    continue
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{name}: {error}") from error
        return self


class WeightFormatSpace(StrictModel):
    """Fixed-point format of a layer's weights: sign, integer bits, fraction bits."""

    integer_bits: WholeOrZero = Dimension((0,))
    fraction_bits: WholeOrZero = Dimension((7,))


class ConvSpace(StrictModel):
    """A convolution. `filters: [absent, 16, 32]` lets the search leave it out, with its pooling and stride."""

    filters: WholeOrAbsent
    kernel: Whole = Dimension((3,))
    stride: Whole = Dimension((1,))
    pool: Flag = Dimension((False,))
    weight_format: WeightFormatSpace | None = None


class HiddenSpace(StrictModel):
    """A hidden fully connected layer. `units: [absent, 64]` lets the search leave it out."""

    units: WholeOrAbsent
    weight_format: WeightFormatSpace | None = None


class NetworkSpace(StrictModel):
    """Convolutions, hidden fully connected layers, and the classifier, whose size follows from the data set."""

    convs: list[ConvSpace] = Field([])
    hidden: list[HiddenSpace] = Field([])
    classifier_format: WeightFormatSpace | None = None
    batch_norm: bool = Field(True, description="Digital batch normalisation after each layer but the classifier.")

    def layers(self) -> dict[str, ConvSpace | HiddenSpace]:
        """Name -> layer in order, without the classifier; parameters are named after it (`conv1_filters`)."""
        convs = {f"conv{i}": conv for i, conv in enumerate(self.convs, start=1)}
        return convs | {f"fc{i}": hidden for i, hidden in enumerate(self.hidden, start=1)}
