"""How far may a memory cell degrade before its design loses a required accuracy?

Each property of the cell is degraded alone, with all others as on the card; bisection finds the bound. All steps use
the same simulated chips (common random numbers) and test images, so that they can be compared. A step holds if the
lower bound of the 95 % interval of the mean accuracy reaches the requirement.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from optuna.trial import FrozenTrial

from hw_models.devices import CellDevice
from hw_models.errors import InfeasibleDesign
from hw_models.read_errors import device_as_read
from pipeline.data.batches import load_images
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import VariationReport
from pipeline.follow_up.networks import (
    draws_of,
    finished_network,
    moved_network,
    new_network,
    scaled_sigma,
    with_device,
)
from pipeline.follow_up.stored import design_of
from pipeline.networks.workload import workload_of
from pipeline.study.study_spec import AccuracySpec, StudySpec
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.variation import accuracy_under_variation

_PRECISION = 1.05  # assumed: factor between two neighbouring values tried; near 1, bounds are closer together
_SIGMA_SCALES = (1 / 16, 16.0)  # assumed: range searched, times the card's
_STUCK_RATES = (1e-4, 0.5)  # assumed: shares of all cells
_READ_SIGMAS = (1e-4, 0.5)  # assumed: relative to g_on
_MISMATCHES = (1e-3, 0.5)  # assumed: relative to what a stored 1 adds
_SMALLEST_ON_OFF, _MORE_ON_OFF = 1.05, 100.0  # assumed: range searched, the upper end times the card's
_LONGEST_S = 3.156e8  # ten years, the usual retention goal of a non-volatile memory
Step = tuple[DesignPoint, float | None]  # hardware, and time since programming in seconds


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One step of the search: the value that was tried, and the accuracy over chips on test images."""

    value: float
    report: VariationReport


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """What was found for one property of the cell.

    Attributes:
        card: The property's value on the device card, in `unit`; None if the card has none.
        searched: From the mildest value tried to the harshest.
        holds_at: The harshest value that holds, or None: not even the mildest does.
        fails_at: The mildest value that does not hold, or None: even the harshest does.
        absolute: `holds_at` in other units, or "".
    """

    name: str
    unit: str
    card: float | None
    searched: tuple[float, float]
    holds_at: Point | None
    fails_at: Point | None
    absolute: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Property:
    name: str
    unit: str
    card: float | None
    values: tuple[float, ...]  # mildest first
    step: Callable[[float], Step]
    absolute: Callable[[float], str] = lambda value: ""


def requirements(
    spec: StudySpec, trial: FrozenTrial, checkpoints: Path, accuracy: float, chips: int, retrain: bool
) -> Iterator[Requirement]:
    """Find the bound of each property that the design's cell has.

    Args:
        spec: The study; its seed decides the chips.
        trial: An evaluated trial.
        checkpoints: Folder of trained weights.
        accuracy: Accuracy to hold, a fraction.
        chips: Simulated chips at each step, 2 or more.
        retrain: Train the network anew at each step, with that step's noise; else only calibrate it anew.

    Raises:
        ValueError: If the design's cells are digital, so that there is nothing to ask.
    """
    torch.set_num_threads(1)  # as in the workers
    design = design_of(spec, trial)
    asked = _asked(design, spec.variation.drift_time_s, trial.number)
    images = load_images(spec.dataset)
    if retrain:  # alone, even if the search used a supernet
        alone = spec.model_copy(update={"accuracy": AccuracySpec()})
        network_on = functools.partial(new_network, alone, draws_of(trial))
    else:
        network_on = functools.partial(moved_network, finished_network(spec, trial, checkpoints, images))
    variation = spec.variation.model_copy(update={"min_chips": chips, "max_chips": chips})
    recalibration = images.train[0][:RECALIBRATION_IMAGES]

    def measure(step: Step) -> VariationReport:
        hardware, time_s = step
        at_time = variation.model_copy(update={"drift_time_s": time_s})
        network = network_on(hardware, images)
        return accuracy_under_variation(network, [images.test], at_time, spec.seed, recalibration, task=images.task)[0]

    for each in asked:
        yield _bound(each, accuracy, measure)


def _asked(design: DesignPoint, time_s: float | None, number: int) -> list[_Property]:
    """The properties of a trial's cell; a ValueError if it is digital."""
    asked = list(_properties(design, time_s))
    if not asked:
        chip = design.accelerator
        raise ValueError(
            f"trial {number} has {chip.device.name} cells, which are digital (readout {chip.readout}): there is no "
            "analog device to ask about"
        )
    return asked


def _bound(each: _Property, accuracy: float, measure: Callable[[Step], VariationReport]) -> Requirement:
    tried: dict[int, Point] = {}

    def holds(index: int) -> bool:
        tried[index] = Point(value=each.values[index], report=measure(each.step(each.values[index])))
        return tried[index].report.mean_low >= accuracy

    good, bad = _boundary(len(each.values), holds)
    return Requirement(
        name=each.name,
        unit=each.unit,
        card=each.card,
        searched=(each.values[0], each.values[-1]),
        holds_at=None if good is None else tried[good],
        fails_at=None if bad is None else tried[bad],
        absolute="" if good is None else each.absolute(each.values[good]),
    )


def _boundary(count: int, holds: Callable[[int], bool]) -> tuple[int | None, int | None]:
    """Indices, below `count`, of the last value that holds and the first that does not; None: there is none."""
    if not holds(0):
        return None, 0
    if count == 1 or holds(count - 1):
        return count - 1, None
    good, bad = 0, count - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good, bad


def _properties(design: DesignPoint, time_s: float | None) -> Iterator[_Property]:
    """Yield the properties of a design's cell. Long because it is a table: one entry a property."""
    device = design.accelerator.device
    if device.cell == "sram":
        yield from _mismatch(design, time_s)
        return
    assert device.on_off_ratio is not None, "only sram has none"
    if any(device.programming_sigma) or device.error_curves:
        yield _programming_sigma(design, time_s)
    yield _Property(
        name="on/off ratio",
        unit="",
        card=device.on_off_ratio,
        values=_grid(_mildest_on_off(design, device.on_off_ratio), _SMALLEST_ON_OFF),
        step=lambda ratio: (with_device(design, on_off_ratio=ratio), time_s),
    )
    if levels := dict(_coarser_cells(design)):
        yield _Property(
            name="levels of a cell",
            unit="",
            card=float(2**design.accelerator.cell_bits),
            values=tuple(levels),
            step=lambda count: (levels[count], time_s),
            absolute=lambda count: f"weights of {levels[count].accelerator.weight_bits} bits",
        )
    yield _Property(
        name="read noise",
        unit="of g_on",
        card=device.read_sigma,
        values=_grid(*_READ_SIGMAS),
        step=lambda sigma: (with_device(design, read_sigma=sigma), time_s),
        absolute=lambda sigma: f"{1e6 * sigma * (device.g_on_siemens or 0.0):.3g} uS",
    )
    stuck = device.stuck_on_rate + device.stuck_off_rate
    yield _Property(
        name="stuck cells",
        unit="of all",
        card=stuck,
        values=_grid(*_STUCK_RATES),
        step=lambda rate: (_with_stuck(design, rate), time_s),
        absolute=lambda rate: f"{_share_on(device):.0%} of them at g_on, the rest at g_off",
    )
    if device.drift_nu or device.drift_nu_sigma:
        yield _Property(
            name="time since programming",
            unit="s",
            card=time_s or device.drift_t0_s,
            values=_grid(device.drift_t0_s, _LONGEST_S),
            step=lambda seconds: (design, seconds),
            absolute=lambda seconds: f"{seconds / 86400:.3g} days",
        )


def _programming_sigma(design: DesignPoint, time_s: float | None) -> _Property:
    return _Property(
        name="programming sigma",
        unit="x card",
        card=1.0,
        values=_grid(_SIGMA_SCALES[0], _harshest_sigma(design)),
        step=lambda scale: (scaled_sigma(design, scale), time_s),
        absolute=lambda scale: _sigma_text(scaled_sigma(design, scale)),
    )


def _share_on(device: CellDevice) -> float:
    """Share of stuck cells that are stuck at g_on: the card's; half where it names none."""
    stuck = device.stuck_on_rate + device.stuck_off_rate
    return device.stuck_on_rate / stuck if stuck else 0.5


def _with_stuck(design: DesignPoint, rate: float) -> DesignPoint:
    share = _share_on(design.accelerator.device)
    return with_device(design, stuck_on_rate=share * rate, stuck_off_rate=(1 - share) * rate)


def _mismatch(design: DesignPoint, time_s: float | None) -> Iterator[_Property]:
    """Yield what an SRAM cell has that is not read digitally: the mismatch of what a stored 1 adds."""
    if any(device_as_read(design.accelerator).programming_sigma):
        yield _programming_sigma(design, time_s)
    titles = {"capacitor_sigma": "mismatch of capacitors", "discharge_sigma": "mismatch of read currents"}
    for name, title in titles.items():
        if (card := getattr(design.accelerator.device, name)) is not None:
            step = functools.partial(_changed, design, time_s, name)
            yield _Property(name=title, unit="of a stored 1", card=card, values=_grid(*_MISMATCHES), step=step)


def _changed(design: DesignPoint, time_s: float | None, name: str, value: float) -> Step:
    return with_device(design, **{name: value}), time_s


def _grid(mildest: float, harshest: float) -> tuple[float, ...]:
    """Values from one end to the other, a factor of about `_PRECISION` apart."""
    count = 1 + math.ceil(abs(math.log(harshest / mildest)) / math.log(_PRECISION))
    return tuple(np.geomspace(mildest, harshest, count).tolist())


def _harshest_sigma(design: DesignPoint) -> float:
    """The largest multiple of the card's sigma, within the range searched, that a cell can have: sigma <= g_on."""
    device = design.accelerator.device
    lowest = device.relative_conductance(0, 1)
    most = max(device.sigma_at(lowest + (1 - lowest) * step / 32) for step in range(33))
    return min(_SIGMA_SCALES[1], 0.999 / most)


def _mildest_on_off(design: DesignPoint, card: float) -> float:
    """The largest on/off ratio searched: the card's where its sigma is not defined at lower conductances."""
    with contextlib.suppress(ValueError):
        with_device(design, on_off_ratio=_MORE_ON_OFF * card)
        return _MORE_ON_OFF * card
    return card


def _coarser_cells(design: DesignPoint) -> Iterator[tuple[float, DesignPoint]]:
    """Yield (levels of a cell, the design on such cells), most levels first; weights keep the bits that fit.

    Yields nothing if a layer has a fixed-point format of its own, whose bits belong to the network, not to the cell.
    """
    chip = design.accelerator
    if any(layer.weight_bits is not None for layer in workload_of(design).layers):
        return
    for bits in range(chip.cell_bits, 0, -1):
        for weight_bits in range(chip.weight_bits, 1, -1):
            with contextlib.suppress(InfeasibleDesign):
                coarser = dataclasses.replace(chip, cell_bits=bits, weight_bits=weight_bits)
                if coarser.slices() <= chip.slices():
                    yield float(2**bits), dataclasses.replace(design, accelerator=coarser)
                    break


def _sigma_text(design: DesignPoint) -> str:
    """Programming sigma at levels that the design's cells use: both of a 1-bit cell, else lowest, middle, highest."""
    device, bits = design.accelerator.device, design.accelerator.cell_bits
    top = 2**bits - 1
    levels = {"lowest": 0, "highest": top} if bits == 1 else {"lowest": 0, "middle": top // 2, "highest": top}
    sigmas = {name: device.sigma_at(device.relative_conductance(level, bits)) for name, level in levels.items()}
    told = ", ".join(f"{sigma:.2%} at the {name} level" for name, sigma in sigmas.items())
    full = "what a stored 1 adds" if device.g_on_siemens is None else f"g_on, {1e6 * device.g_on_siemens:.3g} uS"
    return f"{told} (of {full})"
