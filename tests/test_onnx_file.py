"""ONNX files: what is traced equals the trace of the torch model that was exported; what is not known is refused."""

import json
import logging
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hw_models.workload import Workload
from pipeline.analog.tracing import trace
from pipeline.networks.families import mobilenet, resnet, unet, vit
from pipeline.networks.onnx_file import trace_onnx
from pipeline.networks.onnx_graph.graph import read_graph
from pipeline.networks.onnx_graph.network import KNOWN, OnnxNetwork
from pipeline.networks.onnx_graph.node import OnnxError

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
helper = pytest.importorskip("onnx.helper")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
        self.gru, self.rnn, self.fc = nn.GRU(10, 4, batch_first=True), nn.RNN(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(self.rnn(self.gru(self.lstm(x)[0])[0])[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, x):
        return self.fc(self.layer(self.table(x)).mean(1))


class Sides(nn.Module):
    """Convolutions of one and three sides, unequal padding, poolings, and a normalisation."""

    def __init__(self):
        super().__init__()
        self.one, self.three = nn.Conv1d(3, 4, 5, stride=2, dilation=2), nn.Conv3d(1, 2, (1, 3, 2), padding="same")
        self.norm, self.up = (
            nn.InstanceNorm1d(4, affine=True),
            nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1, groups=2),
        )

    def forward(self, x):
        y = self.up(nn.functional.avg_pool1d(self.norm(self.one(x)), 2))
        return self.three(y.reshape(-1, 1, 2, 3, y.shape[-1])).flatten(1).softmax(-1)


IMAGE = (3, 16, 16)
MODELS = {
    "resnet": (lambda: resnet.build(IMAGE, 5, stages=2, width1=4), IMAGE),
    "mobilenet": (lambda: mobilenet.build(IMAGE, 5), IMAGE),
    "vit": (lambda: vit.build(IMAGE, 5, depth=1, width=16, class_token=True), IMAGE),
    "unet": (lambda: unet.build(IMAGE, 2, levels=2, depth=1, width=4, transposed=False), IMAGE),
    "unet with transposed convolutions": (lambda: unet.build(IMAGE, 2, levels=2, depth=1, width=4), IMAGE),
    "recurrent": (Recurrent, (4, 6)),
    "words": (Words, (7,)),
    "sides": (Sides, (3, 24)),
}


def example(name: str, count: int) -> torch.Tensor:
    shape = (count, *MODELS[name][1])
    return torch.randint(0, 20, shape) if name == "words" else torch.rand(shape)


def exported(model: nn.Module, x: torch.Tensor, path: Path) -> Path:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    return path


def matrices(workload: Workload) -> list[tuple]:
    return [
        (each.rows, each.out_channels, each.groups, each.windows, each.relu, each.pooled) for each in workload.layers
    ]


def kinds(workload: Workload) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in workload.digital:
        found[each.kind] += each.count
    return found


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_has_the_trace_of_the_torch_model(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name][0]().eval()
    path = exported(model, example(name, 2), tmp_path / "model.onnx")
    with torch.no_grad():
        expected, found = trace(model, example(name, 1)), trace_onnx(path)
        x = example(name, 2)
        outputs = OnnxNetwork(read_graph(path, KNOWN, "cpu"))(x)[0]
        torch.testing.assert_close(outputs, model(x), rtol=1e-4, atol=1e-5)
    assert found.traced.uncounted == ()
    assert matrices(found.traced.workload) == matrices(expected.workload)
    assert found.traced.workload.macs == expected.workload.macs
    counted, wanted = kinds(found.traced.workload), kinds(expected.workload)
    assert counted["multiply_accumulate"] == wanted["multiply_accumulate"]
    if name != "words":  # torch scales the product of queries and keys, the exporter both of them
        assert counted == wanted
    if name not in ("recurrent", "words"):  # whose weights have no names of their own in the file
        assert [each.name for each in found.traced.workload.layers] == [each.name for each in expected.workload.layers]


def save(
    path: Path, nodes: list, weights: dict[str, np.ndarray], sizes: list, *, outputs: str = "y", domain: str = ""
) -> Path:
    """A file with one input `x` of the given sizes and one output."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info(outputs, onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return path


def node(kind: str, inputs: str, output: str, **attributes: object):
    return helper.make_node(kind, [each.strip() for each in inputs.split(",")], [output], **attributes)


RNG = np.random.default_rng(0)
FLOAT = RNG.normal(size=(4, 6)).astype(np.float32)
INT8 = RNG.integers(-9, 9, size=(4, 6)).astype(np.int8)
KERNEL = RNG.integers(-9, 9, size=(6, 2, 3, 3)).astype(np.int8)
ONE, ZERO = np.float32(0.1), np.int8(0)
SCALES = {"s": np.asarray(ONE), "z": np.asarray(ZERO)}
IN_FORMS = {
    "a matrix on the left": ([node("MatMul", "w,x", "y")], {"w": FLOAT}, [6, 5], (6, 4, 1, 5)),
    "a batch of matrices": ([node("MatMul", "x,w", "y")], {"w": FLOAT.reshape(2, 2, 6)}, [2, 5, 2], (2, 12, 2, 5)),
    "a matrix that operators compute": (
        [
            node("DequantizeLinear", "w,s,z", "a"),
            node("Transpose", "a", "b", perm=[1, 0]),
            node("Mul", "b,s", "c"),
            node("QuantizeLinear", "x,s,z", "q"),
            node("DequantizeLinear", "q,s,z", "d"),
            node("MatMul", "d,c", "y"),
        ],
        {"w": INT8, **SCALES},
        ["n", 6],
        (6, 4, 1, 1),
    ),
    "QLinearMatMul": ([node("QLinearMatMul", "x,s,z,w,s,z,s,z", "y")], {"w": INT8, **SCALES}, [3, 4], (4, 6, 1, 3)),
    "MatMulInteger": ([node("MatMulInteger", "x,w", "y")], {"w": INT8}, [3, 4], (4, 6, 1, 3)),
    "QLinearConv": (
        [node("QLinearConv", "x,s,z,w,s,z,s,z", "y", group=3, pads=[1, 1, 1, 1])],
        {"w": KERNEL, **SCALES},
        ["n", 6, 5, 4],
        (18, 6, 3, 20),
    ),
    "ConvInteger, padded by name": (
        [node("ConvInteger", "x,w", "y", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": KERNEL},
        ["n", 2, 5, 4],
        (18, 6, 1, 6),
    ),
    "a transposed convolution with a given size": (
        [node("ConvTranspose", "x,w", "y", strides=[2, 2], output_shape=[9, 8])],
        {"w": KERNEL.astype(np.float32)},
        [1, 6, 5, 4],
        (6, 18, 1, 20),
    ),
    "Gemm with its matrix first": ([node("Gemm", "w,x", "y", transA=1)], {"w": FLOAT}, [4, 5], (4, 6, 1, 5)),
    "a known condition": (
        [
            node("Shape", "x", "shape"),
            node("Size", "shape", "sides"),
            node("Equal", "sides,two", "is_matrix"),
            helper.make_node(
                "If",
                ["is_matrix"],
                ["y"],
                then_branch=helper.make_graph(
                    [node("MatMul", "x,w", "a")], "then", [], [helper.make_tensor_value_info("a", 1, None)]
                ),
                else_branch=helper.make_graph(
                    [node("Relu", "x", "b")], "else", [], [helper.make_tensor_value_info("b", 1, None)]
                ),
            ),
        ],
        {"w": FLOAT, "two": np.asarray(2)},
        ["n", 4],
        (4, 6, 1, 1),
    ),
}


@pytest.mark.parametrize(("nodes", "weights", "sizes", "matrix"), IN_FORMS.values(), ids=IN_FORMS)
def test_a_matrix_is_found_in_each_form(nodes, weights, sizes, matrix, tmp_path):
    found = trace_onnx(save(tmp_path / "model.onnx", nodes, weights, sizes)).traced.workload
    assert [each[:4] for each in matrices(found)] == [matrix]


def test_a_recurrent_matrix_runs_at_each_step_whatever_the_first_state(tmp_path):
    w, r, h = (RNG.normal(size=size).astype(np.float32) for size in ((1, 16, 3), (1, 16, 4), (1, 1, 4)))
    nodes = [node("LSTM", "x,w,r,,,h,h", "y", hidden_size=4)]
    found = trace_onnx(save(tmp_path / "model.onnx", nodes, {"w": w, "r": r, "h": h}, [7, 1, 3])).traced.workload
    assert [each.name for each in found.layers] == ["w", "r"]
    assert [each[:4] for each in matrices(found)] == [(3, 16, 1, 7), (4, 16, 1, 7)]


def test_a_product_of_two_activations_is_digital(tmp_path):
    nodes = [node("MatMul", "x,w", "a"), node("Transpose", "a", "b", perm=[1, 0]), node("MatMul", "a,b", "y")]
    found = trace_onnx(save(tmp_path / "model.onnx", nodes, {"w": FLOAT}, [3, 4])).traced.workload
    assert [each.name for each in found.layers] == ["w"]
    assert kinds(found) == {"multiply_accumulate": 3 * 3 * 6}


def test_an_unknown_operator_without_weights_is_listed(tmp_path):
    nodes = [node("MatMul", "x,w", "a"), node("Hardmax", "a", "y")]
    assert trace_onnx(save(tmp_path / "model.onnx", nodes, {"w": FLOAT}, ["n", 4])).traced.uncounted == ("Hardmax",)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        pytest.param(
            [node("FusedMatMul", "x,w", "y", domain="com.microsoft")],
            r"node y \(FusedMatMul\): the operator is not known here, and it holds the weights w; export the network "
            "without it, or give the torch model as FILE.py:FUNCTION",
            id="unknown with weights",
        ),
        pytest.param([node("Magic", "x", "y", domain="mine")], "nor the shape of its result", id="unknown without"),
        pytest.param(
            [node("NonZero", "x", "i"), node("Cast", "i", "j", to=1), node("MatMul", "w,j", "y")],
            r"NonZero\): the size of its result depends on the data",
            id="a size that depends on the data",
        ),
        pytest.param(
            [node("Cast", "x", "i", to=7), node("Reshape", "w,i", "y")],
            "depends on values that only an input has",
            id="a shape from the input",
        ),
        pytest.param([node("Relu", "x", "y")], "multiplies its input with no matrix", id="no matrix"),
        pytest.param([node("MatMul", "x,x", "y")], r"node y \(MatMul\)", id="shapes that do not fit"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(nodes, message, tmp_path):
    path = save(tmp_path / "model.onnx", nodes, {"w": FLOAT}, [3, 4], domain="com.microsoft")
    with pytest.raises(ValueError, match=message) as error:
        trace_onnx(path)
    assert str(error.value).startswith(f"{path}: ")


def test_open_sizes_are_refused_until_they_are_given(tmp_path):
    nodes = [node("Conv", "x,w", "y", pads=[1, 1, 1, 1])]
    weights = {"w": KERNEL.astype(np.float32)}
    path = save(tmp_path / "model.onnx", nodes, weights, ["n", 2, "height", "width"])
    with pytest.raises(OnnxError, match=r"input 'x' are open \(n, height, width\).*--input x=3x32x32"):
        trace_onnx(path)
    assert trace_onnx(path, {"": (2, 5, 7)}).traced.workload.layers[0].windows == 35
    assert trace_onnx(path, {"x": (3, 2, 5, 7)}).traced.workload.layers[0].windows == 105
    with pytest.raises(OnnxError, match="input 'x' is nx2xheightxwidth in the file, got 4x5x7"):
        trace_onnx(path, {"x": (4, 5, 7)})
    with pytest.raises(OnnxError, match="it has no input 'images'; its inputs are x"):
        trace_onnx(path, {"images": (2, 5, 7)})


def test_a_fixed_batch_is_told(tmp_path):
    path = save(tmp_path / "model.onnx", [node("MatMul", "x,w", "y")], {"w": FLOAT}, [8, 4])
    assert trace_onnx(path).batches == ("x",)
    assert trace_onnx(path).traced.workload.layers[0].windows == 8


def test_large_weights_are_not_read_and_need_not_be_there(tmp_path):
    path = tmp_path / "model.onnx"
    large = RNG.normal(size=(300, 400)).astype(np.float32)
    save(path, [node("MatMul", "x,w", "y")], {"w": large}, ["n", 300])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    assert trace_onnx(path).traced.workload.macs == 300 * 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "the file cannot be read", id="no file"),
        pytest.param(b"PK not a graph", "not an ONNX file", id="another file"),
        pytest.param(b"", "not an ONNX file", id="an empty file"),
    ],
)
def test_a_file_that_is_none_is_named(content, message, tmp_path):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OnnxError, match=message):
        trace_onnx(path)


def test_the_command_prints_an_onnx_file(tmp_path, nacim, hardware):
    nodes = [node("MatMul", "x,w", "a"), node("Hardmax", "a", "y")]
    path = save(tmp_path / "model.onnx", nodes, {"w": FLOAT}, ["n", 4])
    done = nacim("cost", path, "--hardware", hardware)
    assert done.returncode == 0, done.stderr
    for words in ("x 1x4", "not charged: Hardmax", "conversions"):
        assert words in " ".join(done.stdout.split())
    plain = json.loads(nacim("cost", path, "--hardware", hardware, "--input", "x=2x4", "--json").stdout)
    assert plain["network"]["macs"] == 2 * 24
    for option, words in (("--set", "depth=2"), ("--classes", "3")):
        assert f"{option} belongs to a function" in nacim("cost", path, "--hardware", hardware, option, words).stderr
