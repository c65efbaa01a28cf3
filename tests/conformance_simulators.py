"""Adapters for `conformance.py`: this project, and IBM aihwkit where it is installed."""

import dataclasses
import math

import torch
from conformance import Chip, Conditions, NotOffered, Simulator, score_card
from torch import Tensor

from hw_models.accelerator import Accelerator
from hw_models.devices import CellDevice, load_card
from hw_models.layers import MvmLayer
from hw_models.mapping import map_network
from hw_models.number_format import FixedPoint
from pipeline.analog.base import Fidelity
from pipeline.analog.calibration import calibrate
from pipeline.analog.layers import NoisyLinear
from pipeline.analog.model import program_chip
from pipeline.analog.simulated_chip import SimulatedChip

DRIFT_NU = 0.06
WHOLE_WEIGHT = 127 / 128
CROSSBAR, SUPPLY_V = 128, 0.85  # 22 nm


class Nacim:
    """A weight is a pair of 7-bit cells, or of groups of cells if sliced; inputs of 8 bits go in at once."""

    def __init__(self, fidelity: Fidelity, compiled: bool = True) -> None:
        self.fidelity, self.compiled = fidelity, compiled
        self.name = f"nacim {fidelity}" + ("" if compiled else ", torch")

    def chip(self, weight: Tensor, conditions: Conditions, seed: int, inputs: Tensor) -> Chip:
        if conditions.adc_bits and self.fidelity == "fast":
            raise NotOffered("converters are noise at the output; tests/test_fast_fidelity.py bounds the difference")
        bit_serial = conditions.sliced or conditions.readout != "current"
        hardware = Accelerator(
            device=self._cell(conditions),
            crossbar_size=CROSSBAR,
            cell_bits=1 if conditions.combined or conditions.readout != "current" else 2 if conditions.sliced else 7,
            weight_bits=8,
            weight_encoding="differential",
            input_bits=8,
            dac_bits=1 if bit_serial else 8,
            adc_bits=conditions.adc_bits,
            mapping="conventional",
            readout=conditions.readout,
            combine_columns=conditions.combined,
            rows_at_once=conditions.rows_at_once,
        )
        return self._programmed(hardware, weight, conditions, seed, inputs)

    def _cell(self, conditions: Conditions) -> CellDevice:
        if conditions.readout != "current":
            return _sram(conditions)
        on_off = 1e6
        to_cell = (1 - 1 / on_off) / WHOLE_WEIGHT / math.sqrt(2)  # two cells of a weight err
        return dataclasses.replace(
            load_card("rram").device,
            on_off_ratio=on_off,
            conductance_levels=128,
            programming_sigma=(conditions.sigma * to_cell,),
            read_sigma=conditions.read_sigma * to_cell,
            drift_nu=DRIFT_NU if conditions.log_age else 0.0,
            drift_nu_sigma=conditions.drift_nu_sigma,
            drift_t0_s=1.0,
            stuck_on_rate=conditions.stuck_on,
            stuck_off_rate=conditions.stuck_off,
        )

    def _programmed(
        self, hardware: Accelerator, weight: Tensor, conditions: Conditions, seed: int, inputs: Tensor
    ) -> Chip:
        outputs, rows = weight.shape
        layer = MvmLayer(
            name="matrix", in_height=1, in_width=1, in_channels=rows, kernel=1, out_channels=outputs, windows=1
        )
        mapping = map_network(hardware, [layer]).layers[0]
        fixed = FixedPoint(integer_bits=0, fraction_bits=7)
        model = NoisyLinear(rows, outputs, bias=False, accelerator=hardware, mapping=mapping, weight_format=fixed)
        model.weight.data.copy_(weight)
        model.input_range.fill_(1.0)
        model.compiled = self.compiled
        calibrate(model, inputs)
        chip = SimulatedChip.number(0, seed)
        program_chip(model, chip, self.fidelity, math.exp(conditions.log_age))
        reads = 0

        def run(x: Tensor) -> Tensor:
            nonlocal reads
            chip.images = torch.arange(reads, reads + len(x))
            reads += len(x) if conditions.read_sigma or conditions.thermal else 0  # else repeated images are the same
            with torch.no_grad():
                return model(x)

        return run


def _sram(conditions: Conditions) -> CellDevice:
    """An SRAM cell; for `charge` with the capacitor whose thermal noise on a column is as asked for."""
    errs = {"stuck_on_rate": conditions.stuck_on, "stuck_off_rate": conditions.stuck_off}
    cell = dataclasses.replace(
        load_card("sram").device,
        programming_sigma=(conditions.sigma,),
        read_sigma=conditions.read_sigma,
        **errs,
    )
    if conditions.readout != "charge":
        return cell
    thermal_v = conditions.thermal * SUPPLY_V / CROSSBAR  # a level is the supply shared by all rows
    capacitor_f = 1.380649e-23 * 300 / (CROSSBAR * thermal_v**2) if thermal_v else 1e-12
    return dataclasses.replace(cell, capacitor_f=capacitor_f, capacitor_sigma=conditions.mismatch)


class Aihwkit:
    """IBM aihwkit's pure-torch inference tile, a differential pair of PCM-like cells, defaults where we do not say."""

    def __init__(self) -> None:
        import aihwkit

        self.name = f"aihwkit {aihwkit.__version__}"

    def chip(self, weight: Tensor, conditions: Conditions, seed: int, inputs: Tensor) -> Chip:
        from aihwkit.inference import CustomDriftPCMLikeNoiseModel
        from aihwkit.nn import AnalogLinear
        from aihwkit.simulator.configs import TorchInferenceRPUConfig

        if conditions.readout != "current" or conditions.combined:
            raise NotOffered("there is one readout, which sums currents of single columns")
        if conditions.stuck_on or conditions.stuck_off:
            raise NotOffered("the inference tile has no stuck cells")
        if conditions.sliced:
            raise NotOffered("the inference tile does not slice weights")
        if conditions.read_sigma:
            raise NotOffered("forward.w_noise is not supported by the pure-torch tile")
        g_max = 25.0
        grid = [0.0, g_max / 2, g_max]
        exponents = {"g_lst": grid, "nu_mean_lst": [DRIFT_NU] * 3, "nu_std_lst": [conditions.drift_nu_sigma] * 3}
        model = CustomDriftPCMLikeNoiseModel(
            custom_drift_model=exponents,
            prog_noise_scale=1.0 if conditions.sigma else 0.0,
            read_noise_scale=0.0,
            drift_scale=1.0 if conditions.log_age else 0.0,
            prog_coeff=[conditions.sigma * g_max / math.sqrt(2)],
            g_max=g_max,
        )
        config = TorchInferenceRPUConfig(noise_model=model, drift_compensation=None)
        config.mapping.max_input_size = 128
        config.forward.is_perfect = conditions.adc_bits is None
        config.forward.inp_res = 1 / 255
        config.forward.out_noise = 0.0
        if conditions.adc_bits:
            config.forward.out_res = 1 / (2**conditions.adc_bits - 2)
        torch.manual_seed(seed)
        layer = AnalogLinear(weight.shape[1], weight.shape[0], bias=False, rpu_config=config)
        layer.set_weights(weight)
        layer.eval()
        layer.program_analog_weights()
        if conditions.log_age:
            layer.drift_analog_weights(model.t_0 * math.expm1(conditions.log_age))

        def run(x: Tensor) -> Tensor:
            with torch.no_grad():
                return layer(x)

        return run


def installed() -> list[Simulator]:
    """Every simulator that can be imported here."""
    simulators: list[Simulator] = [Nacim("exact"), Nacim("fast")]
    try:
        simulators.append(Aihwkit())
    except ImportError:
        print("aihwkit is not installed: left out (pip install --no-deps aihwkit==1.1.0)")
    return simulators


if __name__ == "__main__":
    print(score_card(installed()))
