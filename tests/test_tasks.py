"""Tasks: scores are those of scikit-learn, on each chip's whole set of inputs; what does not fit is refused."""

import copy

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from sklearn.metrics import average_precision_score, jaccard_score, r2_score
from test_analog_layers import design_with
from torch import nn

import pipeline
from pipeline.analog.calibration import calibrate
from pipeline.analog.model import logits_of_chips, program_chips
from pipeline.analog.simulated_chip import SimulatedChip
from pipeline.data.batches import ShuffledBatches
from pipeline.data.scores import correct_sign, mean_average_precision, mean_iou, overlaps, r2
from pipeline.data.task import infer_task, named_task
from pipeline.report.content import Chapter, Plot, Section, Table
from pipeline.report.score_words import in_words_of
from pipeline.study.study_spec import VariationSpec
from pipeline.study.training_spec import TrainingSpec
from pipeline.trial.training import train
from pipeline.trial.variation import accuracy_under_variation, summarize

IDEAL = design_with("rram", quiet=True, input_bits=12, weight_bits=12, cell_bits=4, adc_bits=None).accelerator
NOISY = design_with("rram", input_bits=8, weight_bits=8).accelerator
CHIPS = VariationSpec(min_chips=3, max_chips=3)


def passing_on(values: int, pixels: bool = False, hardware=IDEAL) -> nn.Module:
    """A calibrated network whose outputs are its inputs, (n, values) or (n, values, height, width)."""
    layer = nn.Conv2d(values, values, 1, bias=False) if pixels else nn.Linear(values, values, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(values).view(layer.weight.shape))
    analog = pipeline.to_analog(nn.Sequential(layer), hardware)
    calibrate(analog, torch.rand(32, values, *([4, 4] if pixels else []), generator=torch.Generator().manual_seed(3)))
    return analog


def judged(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, task: str | None = None, **changes):
    spec = CHIPS.model_copy(update=changes)
    chosen = None if task is None else named_task(task)
    return accuracy_under_variation(network, [(inputs, labels)], spec, 0, task=chosen)[0]


@pytest.fixture(scope="module")
def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("step", [0.0, 0.5, 3.0], ids=["no equal outputs", "equal outputs", "mostly equal outputs"])
def test_mean_average_precision_is_that_of_scikit_learn(chance, step):
    outputs = 20 * torch.randn(200, 4, generator=chance)
    outputs = (outputs / (20 * step)).round() if step else outputs
    labels = (torch.rand(200, 4, generator=chance) < torch.tensor([0.1, 0.5, 0.9, 0.02])).long()
    assert mean_average_precision(outputs, labels) == pytest.approx(average_precision_score(labels, outputs))
    without = torch.cat([labels, torch.zeros(200, 1).long()], 1)
    more = torch.cat([outputs, outputs[:, :1]], 1)
    assert mean_average_precision(more, without) == mean_average_precision(outputs, labels)


def test_r2_and_iou_over_a_data_set_are_those_of_scikit_learn(chance):
    targets = torch.rand(50, 3, generator=chance) * torch.tensor([1.0, 10.0, 100.0])
    outputs = targets + torch.randn(50, 3, generator=chance)
    assert r2(outputs, targets) == pytest.approx(r2_score(targets.double(), outputs.double()))
    assert r2(outputs[:, :1], targets[:, 0]) == pytest.approx(r2_score(targets[:, 0].double(), outputs[:, 0].double()))
    logits, masks = torch.randn(7, 5, 6, 4, generator=chance), torch.randint(0, 4, (7, 6, 4), generator=chance)
    logits[:, 4] = -9.0  # neither there nor found
    found = logits.argmax(1)
    expected = jaccard_score(masks.flatten(), found.flatten(), average="macro", labels=range(4))
    assert mean_iou(overlaps(logits, masks), masks) == pytest.approx(expected)
    masks[masks == 2] = 255
    known = masks != 255
    expected = jaccard_score(masks[known], found[known], average="macro", labels=range(4))
    assert mean_iou(overlaps(logits, masks, 255), masks) == pytest.approx(expected)
    per_image = [mean_iou(overlaps(logits, masks, 255)[[i]], masks) for i in range(7)]
    assert np.mean(per_image) != pytest.approx(expected, abs=1e-3), "the union is taken over the data set"


@pytest.mark.parametrize("shape", [(100,), (100, 1)], ids=str)
@pytest.mark.parametrize("kind", [torch.long, torch.bool], ids=str)
def test_one_logit_is_a_classifier_of_two_classes(chance, shape, kind):
    inputs = torch.randn(100, 1, generator=chance)
    labels = (inputs > 0).view(shape).to(kind)
    assert judged(passing_on(1), inputs, labels).mean == 1.0
    assert judged(passing_on(1), inputs, ~labels if kind is torch.bool else 1 - labels, "binary").mean == 0.0
    assert correct_sign(torch.tensor([0.2, -0.1]), torch.tensor([1.0, 1.0])).tolist() == [1.0, 0.0]


def test_each_class_of_masks_counts(chance):
    masks = torch.randint(0, 4, (20, 4, 4), generator=chance)
    perfect = torch.nn.functional.one_hot(masks, 4).permute(0, 3, 1, 2).float()
    swapped = perfect[:, [2, 1, 0, 3]]
    network = passing_on(4, pixels=True)
    assert judged(network, perfect, masks).mean == 1.0
    assert judged(network, swapped, masks).mean == 0.5  # classes 1 and 3 of four
    assert judged(network, swapped, masks, "foreground_segmentation").mean == 1.0


def test_whole_set_scores_are_those_of_each_chips_own_outputs(chance):
    inputs = torch.rand(90, 3, generator=chance)
    targets = inputs + 0.3 * torch.randn(90, 3, generator=chance)
    network = passing_on(3, hardware=NOISY)
    report = judged(network, inputs, targets, "regression")
    for index, score in enumerate(report.per_chip):
        chip = SimulatedChip.number(0, index)
        program_chips(network, [chip])
        with torch.no_grad():
            outputs = logits_of_chips(network, [chip], inputs, torch.arange(90)[None])
        assert score == pytest.approx(r2_score(targets.double(), outputs.double()), abs=1e-5)
    assert len(set(report.per_chip)) == 3
    together = accuracy_under_variation(network, [(inputs, targets)], CHIPS, 0, None, 3, named_task("regression"))
    assert together[0].per_chip == pytest.approx(report.per_chip, abs=1e-5)


def test_chips_on_random_inputs_estimate_the_same_whole_set_score(chance):
    inputs = torch.rand(400, 3, generator=chance)
    labels = (inputs + 0.3 * torch.randn(400, 3, generator=chance) > 0.6).long()
    network = passing_on(3, hardware=NOISY)
    whole = judged(network, inputs, labels, "multilabel", min_chips=12, max_chips=12)
    drawn = judged(network, inputs, labels, "multilabel", min_chips=12, max_chips=12, images_per_chip=60)
    assert drawn.noiseless == whole.noiseless == pytest.approx(mean_average_precision(inputs, labels), abs=0.01)
    assert drawn.per_chip != whole.per_chip
    # each chip's change on 60 inputs is added to the score on all 400: without that, draws scatter by about 0.04
    assert np.abs(np.subtract(drawn.per_chip, whole.per_chip)).mean() < 0.02


def test_a_score_may_be_negative_where_its_task_allows(chance):
    inputs = torch.rand(50, 1, generator=chance)
    report = judged(passing_on(1), inputs, 1 - inputs, "regression")
    assert report.mean == pytest.approx(1 - 4 * 1.0, abs=0.6)  # about 1 - sum (2x - 1)^2 / sum (x - mean)^2
    assert report.mean == pytest.approx(report.worst) == pytest.approx(report.mean_low)
    assert summarize([-0.5], -0.5, -0.5, 9, CHIPS).worst == 0.0


def test_whole_labels_of_any_type_mean_the_same(chance):
    masks = torch.randint(0, 3, (20, 4, 4), generator=chance)
    logits = torch.rand(20, 3, 4, 4, generator=chance)
    network = passing_on(3, pixels=True)
    wide, narrow = (judged(network, logits, masks.to(kind)) for kind in (torch.long, torch.uint8))
    assert wide == narrow
    spec = TrainingSpec(epochs=1, batch_size=10)
    train(network, (logits, masks.to(torch.int16)), spec, 0, task=named_task("segmentation"))


def test_several_outputs_and_no_inputs_are_refused():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = passing_on(3)

        def forward(self, x):
            return self.one(x), x

    with pytest.raises(ValueError, match="must give one tensor, got tuple; wrap it in a module that picks one"):
        judged(Two(), THREE, CLASSES)
    with pytest.raises(ValueError, match="labels of split 0: there are no inputs"):
        judged(passing_on(3), THREE[:0], CLASSES[:0])


CLASSES = torch.arange(60) % 3
MASKS = torch.randint(0, 2, (60, 4, 4), generator=torch.Generator().manual_seed(1))
ONE, THREE, PIXELS = (
    torch.rand(60, *size, generator=torch.Generator().manual_seed(2)) for size in ((1,), (3,), (2, 4, 4))
)
REFUSED = {
    "1 logit": (ONE, CLASSES, "classification", r"outputs .*must be \(n, classes\).*got \(2, 1\).*task binary"),
    "class above": (
        THREE,
        CLASSES + 1,
        None,
        r"classes from 0 to 2, as the network has 3 outputs, got the values 1, 2, 3",
    ),
    "class below 0": (THREE, CLASSES - 1, None, r"got the values -1, 0, 1"),
    "fewer labels": (THREE, CLASSES[:50], None, "50 labels for 60 inputs"),
    "float classes": (
        THREE,
        CLASSES.float(),
        None,
        r"no task suits: labels are torch.float32 \(60,\), outputs are \(2, 3\)",
    ),
    "float for classes": (THREE, CLASSES.float(), "classification", r"must be whole numbers.*got torch.float32"),
    "one-hot for classes": (THREE, THREE.round(), "classification", r"\(n,\); got torch.float32 of shape \(n, 3\)"),
    "0 and 255": (PIXELS, 255 * MASKS, None, r"got the values 0, 255; divide masks by 255 .*or name ignore_index: 255"),
    "small masks": (PIXELS, MASKS[:, :2], "segmentation", r"must be \(n, classes, 2, 4\).*got \(2, 2, 4, 4\)"),
    "classes for pixels": (PIXELS, CLASSES, None, "no task suits"),
    "2 labels of 3": (THREE, THREE.round()[:, :2].long(), "multilabel", r"must be \(n, 2\).*got \(2, 3\)"),
    "labels up to 2": (
        THREE,
        CLASSES.view(-1, 1).expand(60, 3),
        "multilabel",
        r"must be 0 or 1, got the values 0, 1, 2",
    ),
    "3 classes for 1 logit": (ONE, CLASSES, "binary", r"must be 0 or 1, got the values 0, 1, 2"),
    "3 logits for binary": (THREE, CLASSES % 2, "binary", r"one logit for each input.*got \(2, 3\)"),
    "NaN": (ONE, torch.full((60,), torch.nan), "regression", "NaN or infinite"),
    "whole targets": (ONE, CLASSES, "regression", r"must be float targets.*got torch.int64"),
    "one target": (ONE, torch.ones(60), "regression", "the same for all 60 inputs, so that R2 is not defined"),
    "3 outputs for a target": (THREE, torch.rand(60), "regression", r"must be \(n, 1\).*got \(2, 3\)"),
    "0.0 or 1.0": (ONE, CLASSES % 2 * 1.0, None, "in doubt: float labels of 0 and 1 may be binary or regression"),
    "one-hot": (THREE, nn.functional.one_hot(CLASSES), None, r"may be multilabel, or one class \(then .*argmax"),
    "no positive": (THREE, torch.zeros(60, 3).long(), "multilabel", "no input has any of the 3 labels"),
}


@pytest.mark.parametrize(("inputs", "labels", "task", "message"), REFUSED.values(), ids=REFUSED)
def test_labels_and_outputs_that_do_not_fit_are_refused_with_what_was_found(inputs, labels, task, message):
    with pytest.raises(ValueError, match=message):
        judged(passing_on(inputs.shape[1], inputs.dim() == 4), inputs, labels, task)


@pytest.mark.parametrize(
    ("outputs", "labels", "task"),
    [
        ((2, 3), CLASSES, "classification"),
        ((2, 1), CLASSES % 2, "binary"),
        ((2,), CLASSES % 2 == 1, "binary"),
        ((2, 2), (THREE > 0.5)[:, :2].long(), "multilabel"),
        ((2, 3), THREE, "regression"),
        ((2, 1), THREE[:, 0], "regression"),
        ((2, 2, 4, 4), MASKS, "foreground_segmentation"),
        ((2, 3, 4, 4), MASKS, "segmentation"),
    ],
)
def test_a_task_is_inferred_where_only_one_suits(outputs, labels, task):
    assert infer_task(torch.rand(outputs), labels).name == task


def test_labels_that_no_input_has_are_told(chance):
    labels = (torch.rand(60, 3, generator=chance) > 0.5).long()
    labels[:, 1] = 0
    with pytest.warns(UserWarning, match="no input has label 1; mean average precision leaves it out"):
        report = judged(passing_on(3), THREE, labels, "multilabel")
    rest = [0, 2]
    assert report.float_accuracy == pytest.approx(average_precision_score(labels[:, rest], THREE[:, rest]))


@pytest.mark.parametrize("case", [name for name, (_, _, task, _) in REFUSED.items() if task and name != "no positive"])
def test_training_refuses_them_before_the_first_step(case):
    inputs, labels, task, message = REFUSED[case]
    network = passing_on(inputs.shape[1], inputs.dim() == 4)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message.replace(r"\(2, ", r"\(30, ")):
        train(network, (inputs, labels), TrainingSpec(epochs=1, batch_size=30), 0, task=named_task(task))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) or "range" in name or "signed" in name, name


@pytest.mark.parametrize("task", ["binary", "multilabel", "segmentation", "regression"])
def test_networks_learn_each_task(chance, task):
    torch.manual_seed(0)
    inputs = torch.rand(300, 2, generator=chance)
    above = (inputs[:, :1] > inputs[:, 1:]).long()
    float_model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, {"multilabel": 2}.get(task, 1)))
    labels = {"binary": above[:, 0], "multilabel": torch.cat([above, 1 - above], 1), "regression": inputs.prod(1)}
    if task == "segmentation":
        inputs = torch.rand(60, 2, 4, 4, generator=chance)
        labels["segmentation"] = (inputs[:, 0] > inputs[:, 1]).long()
        labels["segmentation"][:, 0, 0] = 255  # counts for nothing
        float_model = nn.Sequential(nn.Conv2d(2, 16, 1), nn.ReLU(), nn.Conv2d(16, 2, 1))
    chosen = named_task(task, 255 if task == "segmentation" else None)
    network = pipeline.to_analog(float_model, NOISY)
    network.eval()  # as a builder may leave it
    train(network, (inputs, labels[task]), TrainingSpec(epochs=40, batch_size=20, learning_rate=0.02), 0, task=chosen)
    calibrate(network, inputs[:64])
    (report,) = accuracy_under_variation(network, [(inputs, labels[task])], CHIPS, 0, task=chosen)
    assert report.float_accuracy > 0.85
    assert report.mean > 0.6


def test_pixels_that_move_in_count_for_nothing_where_a_value_is_ignored():
    images, masks = torch.rand(20, 1, 16, 16) + 0.1, torch.ones(20, 16, 16, dtype=torch.long)
    for x, y in ShuffledBatches((images, masks), 10, 0, "crop", outside=255):
        assert torch.equal(y == 255, x[:, 0] == 0)
        assert set(y.unique().tolist()) == {1, 255}


def test_reports_name_the_score_where_they_speak_of_accuracy():
    figure = go.Figure().update_layout(xaxis={"title": {"text": "accuracy [%]"}})
    table = Table(["best accuracy [%]", "accuracy_mean"], [["accuracy", "1"]], "Both accuracies fall.")
    section = Section("Accuracy by device", "Mean accuracy.", [Plot("noise", figure, "accuracy"), table])
    chapter = Chapter([section], "accuracy", "Which accuracy is enough?", "best accuracy 71 %")
    assert in_words_of("accuracy", chapter) is chapter
    found = in_words_of("mean IoU", chapter)
    plot, rows = found.sections[0].parts
    assert (found.sections[0].heading, found.sections[0].note) == ("Mean IoU by device", "Mean mean IoU.")
    assert (plot.heading, plot.figure.layout.xaxis.title.text) == ("mean IoU", "mean IoU [%]")
    assert (rows.heads, rows.caption) == (["best mean IoU [%]", "accuracy_mean"], "Both mean IoU fall.")
    assert (found.title, found.question, found.summary) == (
        "accuracy",
        "Which accuracy is enough?",
        "best mean IoU 71 %",
    )
    assert rows.rows == table.rows
