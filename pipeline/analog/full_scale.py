"""Choice of a layer's full scale: the range of its converters with the least squared error of the digital output."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pipeline.analog import adc
from pipeline.analog.base import NoisyLayer
from pipeline.analog.programmed_cells import ProgrammedCells, written_cells
from pipeline.analog.simulated_chip import SimulatedChip

_PRODUCTS = 2**23  # assumed: multiplications spent on the column sums from which a full scale is chosen
_VECTORS = 256  # assumed: least number of input vectors for these sums
_DRAWN = 2**17  # assumed: sums per layer drawn from them by the rule `rms`
_CONVERTED = 2**19  # assumed: sums per layer converted with each candidate by the rule `error`
_PAIRS = 128  # assumed: least number of digital outputs that they make
_OUTPUTS, _FEWEST_VECTORS = 16, 8  # assumed: outputs of each input vector among them, and least number of vectors
_PACKS = 8  # assumed: packs of groups that are looked at, of a layer with groups
_EXACT = 1e-11  # assumed: share of the digital output's energy below which an error is float rounding
_COARSE, _NEAR, _FINE = 39, 11, 21  # assumed: full scales tried, in all, near whole levels, around the best


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """Some outputs of a layer.

    Attributes:
        pack: Number of the matrix that they belong to, of a layer with groups.
        outputs: Their numbers among the outputs of the layer, (n,).
    """

    pack: int
    outputs: Tensor

    @classmethod
    def of(cls, layer: NoisyLayer, outputs: int) -> "list[Sample]":
        """Up to `outputs` outputs, drawn at random from each of up to 8 packs of groups; the same ones at each call."""
        chance, packs = torch.Generator().manual_seed(0), layer.mapping.packs
        size, samples = len(layer.weight) // packs, []
        for pack in torch.randperm(packs, generator=chance)[:_PACKS].sort().values.tolist():
            drawn = torch.randperm(size, generator=chance)[:outputs].sort().values
            samples.append(cls(pack, (pack * size + drawn).to(layer.weight.device)))
        return samples

    def vectors(self, layer: NoisyLayer, codes: Tensor, count: int, seed: int) -> Tensor:
        """Up to `count` input vectors that these outputs see, (1, count, rows), drawn at random."""
        packs = layer.mapping.packs
        own = codes if packs == 1 else codes.chunk(packs, 1)[self.pack]
        return layer.input_vectors(own).sample(count, torch.Generator().manual_seed(seed))

    def cells(self, layer: NoisyLayer, chip: SimulatedChip) -> ProgrammedCells:
        """Cells of a chip that hold the weights of these outputs alone, which takes less memory than the layer's."""
        return written_cells(layer.code, layer.mapping, layer.index, chip, layer.weight_codes(self.outputs), None)


class FullScaleInputs:
    """Input vectors from which a layer's full scale is chosen, over all its uses."""

    def __init__(self, layer: NoisyLayer) -> None:
        self._layer, self._samples = layer, Sample.of(layer, _OUTPUTS)
        self._vectors: list[list[Tensor]] = [[] for _ in self._samples]

    def add(self, codes: Tensor) -> None:
        """Draw from the input codes of one use."""
        for drawn, sample in zip(self._vectors, self._samples, strict=True):
            drawn.append(sample.vectors(self._layer, codes, vectors_wanted(self._layer), len(drawn)))

    def best_full_scale(self, adc_bits: int) -> Tensor:
        """The full scale by the layer's rule, scalar."""
        looked_at = []
        for drawn, sample in zip(self._vectors, self._samples, strict=True):
            vectors = torch.cat(drawn, 1)
            chosen = torch.randperm(vectors.shape[1], generator=torch.Generator().manual_seed(0))
            looked_at.append(
                (sample.cells(self._layer, SimulatedChip.nominal()), vectors[:, chosen.to(vectors.device)])
            )
        if self._layer.range_rule == "error":
            return _of_outputs(self._layer, looked_at, adc_bits)
        return _of_column_sums(self._layer, iter(looked_at), adc_bits, torch.Generator().manual_seed(0))


def vectors_wanted(layer: NoisyLayer) -> int:
    """Input vectors from which a layer's full scale is chosen."""
    return max(_VECTORS, _PRODUCTS // layer.weight.numel())


def best_full_scale(layer: NoisyLayer, codes: Tensor, adc_bits: int) -> Tensor:
    """The full scale for the input codes of a layer's only use, by its rule, scalar."""
    if layer.range_rule == "error" or not layer.programmed:
        inputs = FullScaleInputs(layer)
        inputs.add(codes)
        return inputs.best_full_scale(adc_bits)
    chance = torch.Generator().manual_seed(0)
    looked_at = (
        (cells, layer.input_vectors(own).sample(vectors_wanted(layer), chance))
        for cells, own, _ in layer.parts(layer.programmed[0], codes)
    )
    return _of_column_sums(layer, looked_at, adc_bits, chance)


def _of_column_sums(
    layer: NoisyLayer, looked_at: Iterator[tuple[ProgrammedCells, Tensor]], adc_bits: int, chance: torch.Generator
) -> Tensor:
    """The rule `rms`: each conversion's error counts alone, weighed by its slice and cycle."""
    value, share = layer.code.sum_significance().square(), math.ceil(_DRAWN / len(layer.mapping.row_blocks))
    cycles = adc.cycle_values(layer.accelerator, bool(layer.signed_inputs)).square()
    samples, weights = [], []
    for cells, vectors in looked_at:
        for _, sums in cells.column_sums(vectors):
            weight = (cycles[:, None, None, None] * value[:, None]).to(sums).expand(sums.shape)
            picks = torch.randint(sums.numel(), (share,), generator=chance).to(sums.device)
            samples.append(sums.flatten()[picks])
            weights.append(weight.flatten()[picks])
    return adc.best_full_scale(torch.cat(samples), torch.cat(weights), adc_bits)


def _of_outputs(layer: NoisyLayer, looked_at: list[tuple[ProgrammedCells, Tensor]], adc_bits: int) -> Tensor:
    """The rule `error`: errors of the conversions that make one digital output add up, with their signs."""
    conversions = len(layer.mapping.row_blocks) * layer.accelerator.input_cycles * layer.code.sums
    pairs = max(_PAIRS, _CONVERTED // conversions)
    outputs = sum(cells.levels.shape[1] for cells, _ in looked_at)
    count = max(_FEWEST_VECTORS, pairs // outputs)
    parts = []
    for cells, vectors in looked_at:
        blocks = [sums[0] for _, sums in cells.column_sums(vectors[:, :count])]
        parts.append(torch.stack(blocks).transpose(2, 3).flatten(3).flatten(0, 2))
    sums = torch.cat(parts, 1)  # (blocks * cycles * columns, vectors * outputs)
    cycles = adc.cycle_values(layer.accelerator, bool(layer.signed_inputs))
    values = (cycles[:, None] * layer.code.sum_significance()).flatten().repeat(len(layer.mapping.row_blocks)).to(sums)
    ideal = values @ sums

    def loss(full_scale: Tensor) -> Tensor:
        digital = (values @ adc.convert(sums, full_scale, adc_bits)) * adc.adc_step(full_scale, adc_bits)
        share: Tensor = (digital - ideal).square().mean() / ideal.square().mean().clamp(min=1e-30)
        return torch.where(share < _EXACT, 0.0, share)

    best, least = _least(_candidates(sums.max(), adc_bits), loss)
    width = sums.max() * (0.95 / (_COARSE - 1))
    around = best + width * torch.linspace(-1, 1, _FINE, device=sums.device)
    finer, its_loss = _least(around[around > 0], loss)
    return finer if its_loss < least else best


def _candidates(top: Tensor, adc_bits: int) -> Tensor:
    """Full scales from 5 % to 100 % of the largest sum, in equal distances and near whole levels for each ADC code,
    where a few per cent decide: rounding errors of whole sums and of the off state may cancel or add up."""
    even = top * torch.linspace(0.05, 1, _COARSE, device=top.device)
    whole = torch.tensor([1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0], device=top.device) * ((1 << adc_bits) - 1)
    near = (whole[:, None] * torch.linspace(0.95, 1.05, _NEAR, device=top.device)).flatten()
    near = near[(near >= even[0]) & (near <= 1.05 * top)]
    found = torch.cat([even, adc.whole_steps(even, adc_bits), near])
    return found.sort().values


def _least(candidates: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The candidate with the least loss, and that loss; the largest of equals, which saturates last."""
    losses = torch.stack([loss(each) for each in candidates.flip(0)])
    return candidates.flip(0)[losses.argmin()], losses.min()
