"""From a study's space to a design: the one place that asks Optuna for values."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution

from hw_models.accelerator import Accelerator
from hw_models.devices import check_drift_time
from hw_models.errors import InfeasibleDesign
from hw_models.number_format import FixedPoint
from pipeline.data.dataset_spec import OwnTask
from pipeline.data.spec import check_augmentation, image_of
from pipeline.design.design_point import ConvSpec, DesignPoint, HiddenSpec
from pipeline.design.topology import topology
from pipeline.files import did_you_mean
from pipeline.networks.workload import workload_of
from pipeline.strict_model import StrictModel
from pipeline.study.built_space import BuiltSpace
from pipeline.study.network_check import check_networks
from pipeline.study.spaces import ABSENT, ConvSpace, Dimension, HiddenSpace, NetworkSpace, WeightFormatSpace
from pipeline.study.study_file import StudyDefinition

_MUST_FIT = (  # the last ones, which fit each other seldom, are varied first
    *("crossbar_size", "crossbar_columns", "cols_per_adc", "cell_bits", "weight_bits"),
    *("weight_encoding", "adc_type", "input_bits", "dac_bits", "input_drive", "rows_at_once", "supply_v"),
    *("combine_columns", "device", "readout"),
)
_DIGITAL = {"adc_bits": None, "adc_type": "sar", "dac_bits": 1, "combine_columns": False}  # whatever the study says


@dataclasses.dataclass(frozen=True, slots=True)
class SearchSpace:
    """The parameters of a study, and the design that their values give.

    Every trial suggests the same names with the same choices, also for an absent layer: a parameter that some trials
    skip would drop out of NSGA-II's crossover. Parameters with a single value are not suggested.
    """

    definition: StudyDefinition

    def dimensions(self) -> dict[str, Dimension]:
        """Parameter name -> its values, fixed ones included, in the order of suggestion."""
        spec = self.definition.spec
        if isinstance(spec.network, BuiltSpace):
            return dict(_parameters("", spec.hardware)) | spec.network.dimensions()
        layers = {f"{name}_": layer for name, layer in spec.network.layers().items()}
        parts = {"": spec.hardware, **layers, "classifier_": spec.network.classifier_format}
        return {name: values for prefix, part in parts.items() for name, values in _parameters(prefix, part)}

    def searched(self) -> dict[str, Dimension]:
        """Parameters with more than one value, in the order of suggestion."""
        return {name: dimension for name, dimension in self.dimensions().items() if not dimension.is_fixed}

    def check(self) -> None:
        """Make sure that the space holds a design, and that each value of each parameter and the data are allowed.

        Raises:
            ValueError: If a value is out of its range, or no chip or no network can exist; names the file.
        """
        network = self.definition.spec.network
        dimensions = self.dimensions()
        values = {name: dimension.values[0] for name, dimension in dimensions.items()}
        spec = self.definition.spec
        try:
            check_augmentation(spec.recipe.augment, image_of(spec.dataset).input_shape)
            for device in self.definition.devices.values():
                check_drift_time(device, spec.variation.drift_time_s)
            values = self._first_feasible(values, dimensions)
            if isinstance(network, BuiltSpace):
                dataset = self.definition.spec.dataset
                check_networks(network, image_of(dataset), any_output=isinstance(dataset.the_task, OwnTask))
            else:
                topology(self.design(values | _least_shrinking(network)))
            for name, dimension in dimensions.items():
                for value in dimension.values:
                    with contextlib.suppress(InfeasibleDesign):
                        self.design(values | {name: value})
        except ValueError as error:
            raise ValueError(f"{self.definition.path}: {error}") from error

    def _first_feasible(self, values: dict[str, Any], dimensions: dict[str, Dimension]) -> dict[str, Any]:
        problem = ""
        for choice in itertools.product(*(dimensions[name].values for name in _MUST_FIT)):
            candidate = values | dict(zip(_MUST_FIT, choice, strict=True))
            try:
                self.design(candidate)
                return candidate
            except InfeasibleDesign as error:
                problem = str(error)
        raise ValueError(f"hardware: no chip of this space can exist: {problem}")

    def suggest(self, trial: optuna.trial.BaseTrial) -> DesignPoint:
        """Ask `trial` for all parameters and build the design.

        Raises:
            InfeasibleDesign: If the values make no chip; the trial then holds all parameters.
        """
        return self.design({name: _suggest(trial, name, dimension) for name, dimension in self.dimensions().items()})

    def misfit(self, parameters: Mapping[str, Any]) -> str:
        """Why values that somebody chose are outside the space, such as those of an enqueued trial; empty if inside."""
        dimensions = self.dimensions()
        for name, value in parameters.items():
            if name not in dimensions:
                return f"the study has no parameter {name!r}{did_you_mean(name, dimensions)}"
            allowed = dimensions[name].values
            if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed):
                step = f"{allowed[0]}, {allowed[1]} .. {allowed[-1]}" if dimensions[name].is_range else ""
                return f"{name} must be one of {step or ', '.join(map(str, allowed))}, got {value!r}"
        return ""

    def design_of(self, parameters: Mapping[str, Any]) -> DesignPoint:
        """The design of a trial's parameters, its network checked.

        Raises:
            InfeasibleDesign: If they do not make a chip or a network.
        """
        fixed = {name: dimension.values[0] for name, dimension in self.dimensions().items() if dimension.is_fixed}
        design = self.design({**fixed, **parameters})
        workload_of(design)
        return design

    def design(self, values: dict[str, Any]) -> DesignPoint:
        """The design that a full set of parameter values gives; `workload_of` checks that its network can exist.

        A value that the rest of the hardware leaves no meaning becomes the one that it then amounts to, so that equal
        designs are found to be equal: `cell_bits` are at most what the device holds and `dac_bits` at most the input's;
        a digital macro has no converters; `input_drive` counts only where several bits can come in either way; a single
        column is not combined.

        Raises:
            InfeasibleDesign: If the values make no chip.
        """
        spec = self.definition.spec
        if isinstance(spec.network, BuiltSpace):
            built = spec.network.network(values, values["weight_bits"])
            widths = [bits for _, bits in built.weight_bits] or [values["weight_bits"]]
            return DesignPoint(
                accelerator=self._accelerator(values, widths), image=image_of(spec.dataset), network=built
            )
        layers = [_layer(values, name, space) for name, space in spec.network.layers().items()]
        classifier = _format(values, "classifier", spec.network.classifier_format)
        formats = [*(layer.weight_format for layer in layers if layer), classifier]
        widths = [own.bits if own else values["weight_bits"] for own in formats]
        return DesignPoint(
            accelerator=self._accelerator(values, widths),
            image=image_of(spec.dataset),
            convs=tuple(layer for layer in layers if isinstance(layer, ConvSpec)),
            hidden=tuple(layer for layer in layers if isinstance(layer, HiddenSpec)),
            classifier_format=classifier,
            batch_norm=spec.network.batch_norm,
        )

    def _accelerator(self, values: dict[str, Any], widths: list[int]) -> Accelerator:
        """`widths` are the bits of the layers' weights: the widest ones size the periphery."""
        device = self.definition.devices[values["device"]]
        hardware = {name: values[name] for name in type(self.definition.spec.hardware).model_fields}
        cell_bits, dac_bits = (
            min(hardware["cell_bits"], device.max_cell_bits),
            min(values["dac_bits"], values["input_bits"]),
        )
        hardware |= {"device": device, "cell_bits": cell_bits, "dac_bits": dac_bits, "weight_bits": max(widths)}
        if values["readout"] == "digital":
            hardware |= _DIGITAL
        if hardware["dac_bits"] == 1 or values["readout"] == "charge":
            hardware["input_drive"] = "voltage"
        elif values["readout"] == "discharge" or device.cell == "sram":
            hardware["input_drive"] = "pulse_width"
        single = Accelerator(**hardware | {"combine_columns": False})
        combines = hardware["combine_columns"] and single.slices() > 1
        return dataclasses.replace(single, combine_columns=True) if combines else single


def _least_shrinking(network: NetworkSpace) -> dict[str, Any]:
    """The convolutions that shrink the image least: absent, unpooled, stride 1 where the space allows."""
    steps: dict[str, Any] = {}
    for name, layer in network.layers().items():
        if isinstance(layer, ConvSpace):
            steps |= {f"{name}_stride": min(map(int, layer.stride.values)), f"{name}_pool": all(layer.pool.values)}
            if ABSENT in layer.filters.values:
                steps[f"{name}_filters"] = ABSENT
    return steps


def distribution_of(dimension: Dimension) -> IntDistribution | CategoricalDistribution:
    """Optuna's distribution of a searched parameter."""
    values = dimension.values
    if not dimension.is_range:
        return CategoricalDistribution(values)
    low, second, high = int(values[0]), int(values[1]), int(values[-1])
    return IntDistribution(low, high, step=second - low)


def _suggest(trial: optuna.trial.BaseTrial, name: str, dimension: Dimension) -> Any:
    if dimension.is_fixed:
        return dimension.values[0]
    distribution = distribution_of(dimension)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step)
    return trial.suggest_categorical(name, distribution.choices)


def _parameters(prefix: str, space: StrictModel | None) -> Iterator[tuple[str, Dimension]]:
    """(parameter, values) of one part of the study file, its weight format included."""
    for name in type(space).model_fields if space else ():
        value = getattr(space, name)
        if isinstance(value, Dimension):
            yield f"{prefix}{name}", value
        else:
            yield from _parameters(prefix, value)


def _layer(values: dict[str, Any], name: str, space: ConvSpace | HiddenSpace) -> ConvSpec | HiddenSpec | None:
    fields = {field: values[f"{name}_{field}"] for field in type(space).model_fields if field != "weight_format"}
    if ABSENT in fields.values():
        return None
    layer = ConvSpec if isinstance(space, ConvSpace) else HiddenSpec
    return layer(**fields, weight_format=_format(values, name, space.weight_format))


def _format(values: dict[str, Any], layer: str, space: WeightFormatSpace | None) -> FixedPoint | None:
    return FixedPoint(**{name: values[f"{layer}_{name}"] for name in type(space).model_fields}) if space else None
