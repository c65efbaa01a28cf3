"""From a study's space to a design: the one place that asks Optuna for values."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution

from hw_models.accelerator import Accelerator
from hw_models.devices import CellDevice
from hw_models.errors import InfeasibleDesign
from hw_models.number_format import FixedPoint
from pipeline.data.files import image_of
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec
from pipeline.design.topology import topology
from pipeline.study.dimension import ABSENT, Dimension, Scalar
from pipeline.study.study_file import StudyDefinition
from pipeline.study.study_spec import WeightFormatSpace

_FIT_TOGETHER = ("device", "crossbar_size", "cols_per_adc", "cell_bits", "weight_bits", "weight_encoding")


@dataclasses.dataclass(frozen=True, slots=True)
class SearchSpace:
    """The parameters of a study and how their values make a design.

    Every trial suggests the same names with the same choices, also for a layer that turns out absent: a parameter that
    some trials skip would drop out of NSGA-II's crossover. Parameters with a single value are not suggested.
    """

    definition: StudyDefinition

    def dimensions(self) -> dict[str, Dimension]:
        """Parameter name -> its values, fixed ones included, in the order of suggestion."""
        return dict(self._dimensions())

    def check(self) -> None:
        """Make sure that the space holds a design, and that each value of each parameter is allowed.

        Raises:
            ValueError: If a value is out of its range, or if no chip or no network of the space can exist; names the
                file.
        """
        dimensions = self.dimensions()
        values = {name: dimension.values[0] for name, dimension in dimensions.items()}
        try:
            values = self._first_feasible(values, dimensions)
            topology(self.design(values | self._smallest_steps(dimensions)))
            for name, dimension in dimensions.items():
                for value in dimension.values:
                    with contextlib.suppress(InfeasibleDesign):
                        self.design(values | {name: value})
        except ValueError as error:
            raise ValueError(f"{self.definition.path}: {error}") from error

    def _smallest_steps(self, dimensions: dict[str, Dimension]) -> dict[str, Any]:
        """The convolutions that shrink the image least: absent, unpooled, stride 1 where the space allows."""
        steps: dict[str, Any] = {}
        for i, _ in enumerate(self.definition.spec.network.convs, start=1):
            filters, strides, pools = (dimensions[f"conv{i}_{name}"].values for name in ("filters", "stride", "pool"))
            steps |= {f"conv{i}_stride": min(map(int, strides)), f"conv{i}_pool": all(pools)}
            if ABSENT in filters:
                steps[f"conv{i}_filters"] = ABSENT
        return steps

    def _first_feasible(self, values: dict[str, Any], dimensions: dict[str, Dimension]) -> dict[str, Any]:
        problem = ""
        for choice in itertools.product(*(dimensions[name].values for name in _FIT_TOGETHER)):
            candidate = values | dict(zip(_FIT_TOGETHER, choice, strict=True))
            try:
                self.design(candidate)
            except InfeasibleDesign as error:
                problem = str(error)
            else:
                return candidate
        raise ValueError(f"hardware: no chip of this space can exist: {problem}")

    def searched(self) -> dict[str, Dimension]:
        """Parameters with more than one value, in the order of suggestion."""
        return {name: dimension for name, dimension in self._dimensions() if not dimension.is_fixed}

    def design_of(self, parameters: Mapping[str, Any]) -> DesignPoint:
        """The design of a trial's parameters, its network checked.

        Raises:
            InfeasibleDesign: If they do not make a chip or a network.
        """
        fixed = {name: dimension.values[0] for name, dimension in self._dimensions() if dimension.is_fixed}
        design = self.design({**fixed, **parameters})
        topology(design)
        return design

    def suggest(self, trial: optuna.trial.BaseTrial) -> DesignPoint:
        """Ask `trial` for all parameters and build the design.

        Raises:
            InfeasibleDesign: If the values do not make a chip or a network; the trial then holds all parameters.
        """
        return self.design({name: _suggest(trial, name, dimension) for name, dimension in self._dimensions()})

    def design(self, values: dict[str, Any]) -> DesignPoint:
        """The design that a full set of parameter values means.

        `cell_bits` above what the device holds means what it holds; the design states the bits really used.

        Raises:
            InfeasibleDesign: If the values do not make a chip or a network.
        """
        spec = self.definition.spec
        convs = tuple(
            ConvSpec(
                filters=values[f"conv{i}_filters"],
                kernel=values[f"conv{i}_kernel"],
                stride=values[f"conv{i}_stride"],
                pool=values[f"conv{i}_pool"],
                weight_format=_format(values, f"conv{i}", conv.weight_format),
            )
            for i, conv in enumerate(spec.network.convs, start=1)
            if values[f"conv{i}_filters"] != ABSENT
        )
        hidden = tuple(
            HiddenSpec(units=values[f"fc{i}_units"], weight_format=_format(values, f"fc{i}", fc.weight_format))
            for i, fc in enumerate(spec.network.hidden, start=1)
            if values[f"fc{i}_units"] != ABSENT
        )
        classifier = _format(values, "classifier", spec.network.classifier_format)
        formats = [*(conv.weight_format for conv in convs), *(fc.weight_format for fc in hidden), classifier]
        return DesignPoint(
            accelerator=self._accelerator(values, formats),
            image=image_of(spec.dataset),
            convs=convs,
            hidden=hidden,
            classifier_format=classifier,
            batch_norm=spec.network.batch_norm,
        )

    def _accelerator(self, values: dict[str, Any], formats: list[FixedPoint | None]) -> Accelerator:
        device: CellDevice = self.definition.devices[values["device"]]
        hardware = {name: values[name] for name in type(self.definition.spec.hardware).model_fields}
        hardware["device"] = device
        hardware["cell_bits"] = min(values["cell_bits"], device.max_cell_bits)
        own = [layer_format.bits for layer_format in formats if layer_format]
        if len(own) == len(formats):  # no layer takes weight_bits: the periphery is as wide as the widest layer
            hardware["weight_bits"] = max(own)
        elif own:
            hardware["weight_bits"] = max(hardware["weight_bits"], *own)
        return Accelerator(**hardware)

    def _dimensions(self) -> Iterator[tuple[str, Dimension]]:
        spec = self.definition.spec
        for name in type(spec.hardware).model_fields:
            yield name, getattr(spec.hardware, name)
        for i, conv in enumerate(spec.network.convs, start=1):
            for name in ("filters", "kernel", "stride", "pool"):
                yield f"conv{i}_{name}", getattr(conv, name)
            yield from _format_dimensions(f"conv{i}", conv.weight_format)
        for i, fc in enumerate(spec.network.hidden, start=1):
            yield f"fc{i}_units", fc.units
            yield from _format_dimensions(f"fc{i}", fc.weight_format)
        yield from _format_dimensions("classifier", spec.network.classifier_format)


def _suggest(trial: optuna.trial.BaseTrial, name: str, dimension: Dimension) -> Scalar:
    if dimension.is_fixed:
        return dimension.values[0]
    distribution = distribution_of(dimension)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step)
    return cast(Scalar, trial.suggest_categorical(name, distribution.choices))


def distribution_of(dimension: Dimension) -> IntDistribution | CategoricalDistribution:
    """What Optuna is told of a searched parameter."""
    values = dimension.values
    if not dimension.is_range:
        return CategoricalDistribution(values)
    low, second, high = int(values[0]), int(values[1]), int(values[-1])
    return IntDistribution(low, high, step=second - low)


def _format(values: dict[str, Any], layer: str, space: WeightFormatSpace | None) -> FixedPoint | None:
    if space is None:
        return None
    return FixedPoint(integer_bits=values[f"{layer}_integer_bits"], fraction_bits=values[f"{layer}_fraction_bits"])


def _format_dimensions(layer: str, space: WeightFormatSpace | None) -> Iterator[tuple[str, Dimension]]:
    if space is not None:
        yield f"{layer}_integer_bits", space.integer_bits
        yield f"{layer}_fraction_bits", space.fraction_bits
