"""Public architectures, with random weights, on crossbars: equal to torch, matrices and products counted, costed.

    python benchmarks/zoo.py                   # all, about 20 minutes; writes the table of docs/networks_tried.md
    python benchmarks/zoo.py resnet18 swin     # those whose name contains one of the words

torchvision and timm are needed (`pip install -e ".[zoo]"`), nothing is downloaded. Inputs are small where the
architecture allows it.
"""

import argparse
import contextlib
import copy
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import zoo_networks as own
from markdown_tables import table, write_block
from product_counter import count_products, fake_quantised, to_meta
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hw_models.accelerator import Accelerator
from hw_models.cost import estimate_cost
from hw_models.devices import load_card
from pipeline.analog.calibration import calibrate
from pipeline.analog.conversion import to_analog
from pipeline.analog.model import noisy_layers, program_chip
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.analog.tracing import trace

PAGE = Path(__file__).parent.parent / "docs" / "networks_tried.md"
QUIET = {"programming_sigma": (0.0,), "read_sigma": 0.0, "stuck_on_rate": 0.0, "stuck_off_rate": 0.0}
_STATISTICS = 8  # inputs for batch normalisation's statistics
LIMIT = 1e-3  # relative error that ideal hardware may have

_TORCHVISION = {  # side of the image: names
    32: "vgg11",
    64: "resnet18 resnet50 resnext50_32x4d densenet121 squeezenet1_1 mobilenet_v2 mobilenet_v3_small "
    "mnasnet0_5 efficientnet_b0 efficientnet_v2_s shufflenet_v2_x0_5 regnet_x_400mf regnet_y_400mf convnext_tiny "
    "swin_t swin_v2_t alexnet",
}
_AUXILIARY = {"inception_v3": 80, "googlenet": 64}
_SEGMENTATION = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
RESAMPLING = {*_SEGMENTATION, "raft_small"}  # bilinear interpolation is products that the flop counter leaves out
_VIDEO = {"r3d_18": (4, 32), "mc3_18": (4, 32), "r2plus1d_18": (4, 32), "swin3d_t": (4, 64)}  # frames, side
_TIMM = {
    64: "nf_resnet26 test_nfnet nfnet_l0 eca_nfnet_l0 convnext_atto convnextv2_atto efficientnet_lite0 "
    "mobilenetv4_conv_small ghostnet_050 repvgg_a0 res2net50_14w_8s resnest14d dla46_c cspresnet50 lcnet_050 "
    "hrnet_w18_small xception41 ese_vovnet19b_dw skresnet18 fastvit_t8 starnet_s1 "
    "inception_next_atto edgenext_xx_small efficientvit_b0 poolformer_s12 rexnet_100 mobilevit_xxs",
    160: "test_vit test_maxvit test_coatnet",
    224: "xcit_nano_12_p16_224 levit_128s",
}
_TIMM_WITH_SIZE = "vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 mixer_s32_224 gmlp_ti16_224 resmlp_12_224"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A network with random weights, and inputs for it (a batch of the given size)."""

    source: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Any, ...]]

    def make(self, batch: int) -> tuple[nn.Module, tuple[Any, ...]]:
        torch.manual_seed(0)
        model = self.build().eval()
        awaken(model, self.inputs(_STATISTICS))
        return model.eval(), self.inputs(batch)


def _pictures(*shape: int) -> Callable[[int], tuple[Tensor, ...]]:
    return lambda batch: (torch.randn(batch, *shape),)


def _sequences(batch: int) -> tuple[Tensor, ...]:
    return (torch.randn(20, batch, 24),)


def _flow_inputs(batch: int) -> tuple[Any, ...]:
    return torch.rand(batch, 3, 128, 128), torch.rand(batch, 3, 128, 128), 4  # updates of the flow


def _tokens(*lengths: int) -> Callable[[int], tuple[Tensor, ...]]:
    return lambda batch: tuple(torch.randint(50, (batch, length)) for length in lengths)


OWN = {
    "LSTM keyword spotting": (own.KeywordSpotting, _pictures(50, 40)),
    "LSTM, 2 layers, both ways": (lambda: own.Recurrent(nn.LSTM(24, 32, 2, bidirectional=True)), _sequences),
    "GRU": (lambda: own.Recurrent(nn.GRU(24, 32)), _sequences),
    "RNN": (lambda: own.Recurrent(nn.RNN(24, 32)), _sequences),
    "GPT-like decoder": (own.Decoder, _tokens(32)),
    "Siamese": (own.Siamese, lambda batch: (torch.rand(batch, 1, 28, 28), torch.rand(batch, 1, 28, 28))),
    "U-Net": (own.UNet, _pictures(3, 32, 32)),
    "Transformer encoder": (own.TextEncoder, _tokens(16)),
    "Transformer": (own.Translator, _tokens(12, 8)),
    "depthwise audio network": (own.AudioNet, _pictures(1, 1000)),
    "DCGAN generator": (own.Generator, _pictures(32)),
    "tied autoencoder": (own.Autoencoder, _pictures(64)),
    "PointNet": (own.PointNet, _pictures(3, 64)),
    "graph network": (own.GraphNet, lambda batch: (torch.randn(batch, 12, 16), torch.rand(batch, 12, 12))),
}


@torch.no_grad()
def awaken(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Make every layer count.

    New models switch off whole branches: heads and last normalisations start at 0, layer scales at 1e-6, and batch
    normalisation with statistics of no data lets signals die out. Here constant parameters are drawn around their
    value, and one pass sets the statistics. The biases of batch normalisation are drawn around 1: around 0,
    a deep network of random weights is chaotic and makes 10 % of an error of 1e-4.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = None  # the mean of all passes
        if norm.bias is not None:
            norm.bias.fill_(1.0)
    for parameter in model.parameters():
        if parameter.numel() == 1 and not parameter:
            parameter.fill_(0.5)  # the gain of a residual branch
        elif parameter.numel() > 1 and parameter.min() == parameter.max():
            matrix = parameter.squeeze().dim() > 1
            parameter += torch.randn_like(parameter) * (parameter[0].numel() ** -0.5 if matrix else 0.2)
    if norms:
        model(*inputs)


def load_torchvision() -> None:
    """Import torchvision, also where its compiled operators do not load; its models do without them."""
    try:
        import torchvision
    except RuntimeError:  # it describes two operators that are not there
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


@functools.cache
def architectures() -> dict[str, Architecture]:
    """All architectures by name."""
    load_torchvision()
    import timm
    from torchvision import models

    def torchvision_model(name: str, *shape: int, **settings: Any) -> Architecture:
        build = functools.partial(models.get_model, name, weights=None, **settings)
        return Architecture(source="torchvision", build=build, inputs=_pictures(*shape))

    def timm_model(name: str, side: int, **settings: Any) -> Architecture:
        build = functools.partial(timm.create_model, name, **settings)
        return Architecture(source="timm", build=build, inputs=_pictures(3, side, side))

    found = {name: torchvision_model(name, 3, side, side) for side, all in _TORCHVISION.items() for name in all.split()}
    found |= {name: torchvision_model(name, 3, side, side, init_weights=False) for name, side in _AUXILIARY.items()}
    found |= {name: torchvision_model(name, 3, 64, 64, weights_backbone=None) for name in _SEGMENTATION}
    found |= {name: torchvision_model(name, 3, frames, side, side) for name, (frames, side) in _VIDEO.items()}
    small = functools.partial(models.VisionTransformer, 64, 16, 4, 4, 64, 128)
    found["VisionTransformer"] = Architecture(source="torchvision", build=small, inputs=_pictures(3, 64, 64))
    flow = functools.partial(models.get_model, "raft_small", weights=None)
    found["raft_small"] = Architecture(source="torchvision", build=flow, inputs=_flow_inputs)
    found |= {name: timm_model(name, side) for side, all in _TIMM.items() for name in all.split()}
    found |= {name: timm_model(name, 64, img_size=64) for name in _TIMM_WITH_SIZE.split()}
    found |= {name: Architecture(source="own", build=build, inputs=inputs) for name, (build, inputs) in OWN.items()}
    return found


def hardware(bits: int, adc_bits: int | None = None) -> Accelerator:
    """Crossbars without device errors; without a converter they compute exactly what `bits` bits can."""
    device = dataclasses.replace(load_card("rram").device, **QUIET)
    sizes = {"crossbar_size": 128, "cell_bits": 4, "cols_per_adc": 8}
    return Accelerator(device=device, weight_bits=bits, input_bits=bits, adc_bits=adc_bits, **sizes)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the zoo measured of one architecture.

    Attributes:
        parameters, matrices: Parameters, and matrices on crossbars.
        macs, expected_macs: Multiply-accumulates on crossbars of one inference, and those of torch's flop counter. The
            first state of a recurrent layer is a constant, but its matrix runs at each step.
        digital_macs, expected_digital_macs: The same of products of two activations, which stay digital.
        constant_macs: Of products of two constants: their result is a weight, computed once.
        errors: Relative error of the output on ideal hardware by bits of weights and inputs: 12, and 16 if 12 do not
            suffice.
        rounding: That of torch with weights and inputs rounded to 12 bits.
        trace_s, cost_s: Process time of tracing on the meta device, and of the cost model.
        export_s: Process time of `torch.export.export`, None if it refused, and `export_refusal`.
        named: Warnings of tracing and conversion.
    """

    parameters: int
    matrices: int
    macs: int
    expected_macs: int
    digital_macs: int
    expected_digital_macs: int
    constant_macs: int
    errors: dict[int, float]
    rounding: float
    trace_s: float
    cost_s: float
    named: tuple[str, ...]
    export_s: float | None = None
    export_refusal: str = ""


def relative_error(found: Any, right: Any) -> float:
    """Largest relative error (Frobenius norm) of the tensors of two outputs."""
    pairs = zip(tree_leaves(found), tree_leaves(right), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs if isinstance(b, Tensor))


@torch.no_grad()
def measure(architecture: Architecture, batch: int = 2) -> Found:
    """Everything of `Found` but the export."""
    model, inputs = architecture.make(batch)
    right = model(*inputs)
    errors: dict[int, float] = {}
    for bits in (12, 16):
        if not errors or errors[12] > LIMIT:
            analog, named = on_ideal_crossbars(model, inputs, bits)
            errors[bits] = relative_error(analog(*inputs), right)
            matrices = len(noisy_layers(analog))
            del analog
    rounding = relative_error(fake_quantised(model, 12, *inputs), right)
    parameters = sum(each.numel() for each in model.parameters())
    single = architecture.inputs(1)
    with contextlib.suppress(RuntimeError):  # one that reads values of its tensors needs memory
        empty, shapes = copy.deepcopy(model).to("meta"), to_meta(single)
        empty(*shapes)
        model, single = empty, shapes
    products = count_products(model, *single)
    recurrent = any(isinstance(each, nn.RNNBase) for each in model.modules())
    start = time.process_time()
    workload = trace(model, *single).workload
    traced = time.process_time()
    estimate_cost(hardware(8, adc_bits=8), workload.layers, digital=workload.digital)
    return Found(
        parameters=parameters,
        matrices=matrices,
        macs=sum(layer.macs for layer in workload.layers),
        expected_macs=products.static + (products.constant if recurrent else 0),
        digital_macs=sum(each.count for each in workload.digital if each.kind == "multiply_accumulate"),
        expected_digital_macs=products.of_activations,
        constant_macs=0 if recurrent else products.constant,
        errors=errors,
        rounding=rounding,
        trace_s=traced - start,
        cost_s=time.process_time() - traced,
        named=tuple(named),
    )


def on_ideal_crossbars(model: nn.Module, inputs: tuple[Tensor, ...], bits: int) -> tuple[nn.Module, list[str]]:
    """The model on a chip without errors, and the warnings on the way there."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        analog = to_analog(model, hardware(bits))
        calibrate(analog, *inputs)
        program_chip(analog, SimulatedChip.nominal(), "fast")
    return analog, [str(each.message) for each in caught]


def export_time(architecture: Architecture) -> tuple[float | None, str]:
    """Process time of torch.export, None if it refuses the model, and why."""
    model, inputs = architecture.make(1)
    start = time.process_time()
    try:
        with torch.no_grad():
            torch.export.export(model, inputs)
    except Exception as refused:
        return None, f"{type(refused).__name__}: {str(refused).splitlines()[0]}"
    return time.process_time() - start, ""


HEADS = ("architecture", "from", "10^6 parameters", "matrices", "10^6 MACs on crossbars", "digital 10^6 MACs")
HEADS += ("error, 12 bits", "16 bits", "rounding to 12 bits", "trace and cost, s", "torch.export, s")


def rows(found: dict[str, Found], all: dict[str, Architecture]) -> list[list[object]]:
    """The table's rows."""
    return [
        [
            *(name, all[name].source, f"{each.parameters / 1e6:.2f}", each.matrices, f"{each.macs / 1e6:.1f}"),
            *(
                f"{each.digital_macs / 1e6:.1f}",
                *(f"{1e3 * each.errors[bits]:.2f}" if bits in each.errors else "" for bits in (12, 16)),
            ),
            *(f"{1e3 * each.rounding:.2f}", f"{each.trace_s + each.cost_s:.2f}"),
            "refused" if each.export_s is None else f"{each.export_s:.2f}",
        ]
        for name, each in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="architectures whose name contains one of them; none: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    all, found = architectures(), {}
    for name, architecture in all.items():
        if not options.words or any(word in name for word in options.words):
            exported = export_time(architecture)
            found[name] = dataclasses.replace(measure(architecture), export_s=exported[0], export_refusal=exported[1])
            print(name, found[name], flush=True)
    text = table(HEADS, rows(found, all))
    if options.words:
        print(text)
    else:
        write_block(PAGE, "zoo", text)


if __name__ == "__main__":
    main()
