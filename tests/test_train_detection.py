"""Detection: the loss, average precision against values by hand, detectors in halves."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.splitting import read_graph, split

torch = pytest.importorskip("torch", reason="needs torch")
from torch import nn  # noqa: E402
from yolov10n import YOLOv10n  # noqa: E402

from pysplitcodec.train.average_precision import average_precision  # noqa: E402
from pysplitcodec.train.detection import Detection, generalized_iou  # noqa: E402
from pysplitcodec.train.detector import detector_on, shape_detector  # noqa: E402
from pysplitcodec.train.shapes import shapes  # noqa: E402

TASK = Detection((64, 64))


def outputs_for(targets, classes: int = 3, stride: int = 4):
    """What a perfect model of images 64x64 gives: classes at middles, boxes there and beside."""
    places = 64 // stride
    outputs = torch.full((len(targets), classes + 4, places, places), -12.0)
    for output, rows in zip(outputs, targets):
        for kind, *box in rows[rows[:, 0] >= 0].tolist():
            x0, y0, x1, y1 = (value / stride for value in box)
            middle = int((y0 + y1) / 2), int((x0 + x1) / 2)
            output[(int(kind), *middle)] = 8.0
            for row in range(max(middle[0] - 2, 0), min(middle[0] + 3, places)):
                for column in range(max(middle[1] - 2, 0), min(middle[1] + 3, places)):
                    right, down = column + 0.5, row + 0.5
                    sides = torch.tensor([right - x0, down - y0, x1 - right, y1 - down])
                    # softplus undone
                    output[classes:, row, column] = sides.clamp(min=1e-3).expm1().log()
    return outputs


TARGETS = torch.tensor(
    [
        [[0, 4, 4, 20, 24], [2, 30, 33, 50, 61], [-1, -1, -1, -1, -1]],
        [[1, 10, 6, 40, 18], [-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1]],
    ],
    dtype=torch.float32,
)


def needs_pycocotools() -> None:
    pytest.importorskip("pycocotools", reason="needs pycocotools")


# --- average precision -------------------------------------------------------------------------


def rows(*boxes):
    return np.array(boxes, np.float32).reshape(len(boxes), -1) if boxes else np.zeros((0, 6))


TRUTH = [rows((0, 0, 0, 10, 10), (1, 20, 20, 40, 40)), rows((0, 5, 5, 25, 15), (-1, 0, 0, 0, 0))]


def score(*found):
    needs_pycocotools()
    return average_precision(list(found), TRUTH)


def test_perfect_answers() -> None:
    found = score(
        rows((0, 0, 0, 10, 10, 0.9), (1, 20, 20, 40, 40, 0.3)), rows((0, 5, 5, 25, 15, 0.8))
    )
    assert found == pytest.approx({"mAP50": 1.0, "mAP50-95": 1.0})


def test_no_answers() -> None:
    assert score(rows(), rows()) == {"mAP50": 0.0, "mAP50-95": 0.0}


def test_shifted_answers() -> None:
    """Boxes moved by a fifth of a side have an IoU of 0.8 / 1.2, so 0.50 to 0.65 match: 4 of 10."""
    found = score(
        rows((0, 2, 0, 12, 10, 0.9), (1, 24, 20, 44, 40, 0.3)), rows((0, 9, 5, 29, 15, 0.8))
    )
    assert found == pytest.approx({"mAP50": 1.0, "mAP50-95": 0.4})


def test_a_wrong_answer_above_a_right_one() -> None:
    """Class 0 has a false answer between two right ones: precision 1 up to recall 1/2, 2/3 above;
    51 and 50 of 101 recalls.  Class 1 is not found, class 2 has no target and does not count."""
    found = score(
        rows((0, 0, 0, 10, 10, 0.9), (0, 40, 40, 50, 50, 0.5)),
        rows((0, 5, 5, 25, 15, 0.2), (2, 0, 0, 9, 9, 0.99)),
    )
    wanted = (51 + 50 * 2 / 3) / 101 / 2
    assert found == pytest.approx({"mAP50": wanted, "mAP50-95": wanted})


def test_an_object_is_found_once() -> None:
    """A second box upon the same object is wrong: 51 recalls at 1, 50 at 2/3; class 1 is right."""
    found = score(
        rows((0, 0, 0, 10, 10, 0.9), (0, 0, 0, 10, 10, 0.8), (1, 20, 20, 40, 40, 0.3)),
        rows((0, 5, 5, 25, 15, 0.1)),
    )
    assert found["mAP50"] == pytest.approx(((51 + 50 * 2 / 3) / 101 + 1) / 2)


def test_the_wrong_class_or_image() -> None:
    assert score(rows((1, 0, 0, 10, 10, 0.9)), rows((0, 20, 20, 40, 40, 0.9)))["mAP50"] == 0


def test_nothing_to_be_found() -> None:
    needs_pycocotools()
    with pytest.raises(ArgumentError, match="targets have no object"):
        average_precision([rows((0, 0, 0, 1, 1, 0.5))], [rows((-1, 0, 0, 0, 0))])


def test_without_pycocotools(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingDependencyError, match="needs pycocotools"):
        average_precision([rows()], TRUTH[:1])


# --- the task ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [4, 8])
def test_perfect_outputs(stride: int) -> None:
    needs_pycocotools()
    outputs = outputs_for(TARGETS, stride=stride)
    found = TASK.decode(outputs)
    order = found[0, :2, 0].argsort()
    assert torch.allclose(found[0, order][:, :5], TARGETS[0, :2], atol=1e-3)
    assert torch.allclose(found[1, 0, :5], TARGETS[1, 0], atol=1e-3)
    assert (found[0, 2:, 5] < 1e-3).all() and (found[1, 1:, 5] < 1e-3).all()
    # the batches are one set, whatever their sizes
    for size in (1, 2):
        measured = TASK.measure(zip(outputs.split(size), TARGETS.split(size)))
        assert measured == pytest.approx({"mAP50": 1.0, "mAP50-95": 1.0})
    assert tuple(measured) == TASK.metrics


def test_only_peaks_are_found() -> None:
    outputs = outputs_for(TARGETS)
    kind, row, column = 0, 3, 3
    assert outputs[0, kind, row, column] == 8
    outputs[0, kind, row, column + 1] = 7
    outputs[0, 1, row, column] = 5  # another class
    assert (TASK.decode(outputs)[0, :, 5] > 0.5).sum() == 3


def test_loss_of_good_and_bad_outputs() -> None:
    good = outputs_for(TARGETS)
    assert TASK.loss(good, TARGETS) < 0.01
    for change in range(4):  # each side of each box matters
        bad = good.clone()
        bad[:, 3 + change] += 1
        assert TASK.loss(bad, TARGETS) > TASK.loss(good, TARGETS) + 0.05
    assert TASK.loss(good.roll(1, 1), TARGETS) > 5  # classes
    assert TASK.loss(good.flip(3), TARGETS) > 5
    assert TASK.loss(good.bfloat16(), TARGETS).dtype == torch.float32


def test_padding_does_not_count() -> None:
    outputs = torch.randn(2, 7, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = TASK.loss(outputs, TARGETS)
    filled = TARGETS.clone()
    filled[0, 2, 1:] = filled[1, 1:, 1:] = torch.tensor([3.0, 4.0, 60.0, 50.0])
    assert TASK.loss(outputs, filled) == wanted
    padding = torch.full((2, 5, 5), -1.0)
    assert TASK.loss(outputs, torch.cat([padding, TARGETS], 1)) == wanted
    needs_pycocotools()
    assert TASK.measure([(outputs, filled)]) == TASK.measure([(outputs, TARGETS)])


def test_images_without_objects_give_a_loss() -> None:
    outputs = torch.zeros(2, 7, 16, 16, requires_grad=True)
    loss = TASK.loss(outputs, torch.full((2, 3, 5), -1.0))
    loss.backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    assert (outputs.grad[:, :3] > 0).all() and not outputs.grad[:, 3:].any()


def test_an_object_that_is_missed_entirely_is_still_learned() -> None:
    outputs = torch.full((2, 7, 16, 16), -40.0, requires_grad=True)
    TASK.loss(outputs, TARGETS).backward()
    assert outputs.grad.isfinite().all() and outputs.grad[0, 0, 3, 3] < -0.1


def test_a_place_belongs_to_the_smaller_object() -> None:
    """Two objects about one middle: boxes there are to be those of the smaller, whatever order."""
    small, large = [0.0, 24, 24, 40, 40], [1.0, 2, 2, 62, 62]
    for targets in (torch.tensor([[small, large]]), torch.tensor([[large, small]])):
        outputs = torch.zeros(1, 6, 16, 16, requires_grad=True)
        TASK.loss(outputs, targets).backward()
        row = column = 8
        # zero is softplus 0.7 places; the small one ends 1.5 to 2.5 places away: all sides grow
        assert (outputs.grad[0, 2:, row, column] < 0).all()
        alone = torch.zeros(1, 6, 16, 16)
        alone[0, 2:] = outputs_for(torch.tensor([[small]]), 2)[0, 2:]
        better = alone.clone()
        better[0, 2:, row, column] = 3.0
        assert TASK.loss(alone, targets) < TASK.loss(better, targets)


def test_generalized_iou() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    others = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [3, 0, 4, 1]])
    # equal; 2 common of 6 in all; none common, 2 of a hull of 4
    assert generalized_iou(boxes, others).tolist() == pytest.approx([1, 1 / 3, -0.5])


def test_variations_mirror_images_and_boxes() -> None:
    data = shapes("detection", train_samples=16, test_samples=1)
    images, targets = data.train.images, data.train.targets
    varied, moved = TASK.vary(images, targets, torch.Generator().manual_seed(0))
    same = (varied == images).flatten(1).all(1)
    flipped = (varied == images.flip(3)).flatten(1).all(1)
    assert (same ^ flipped).all() and 0 < flipped.sum() < 16
    assert torch.equal(moved[same], targets[same])
    back = moved[flipped].clone()
    real = back[..., 0] >= 0
    assert torch.equal(real, targets[flipped][..., 0] >= 0) and (back[~real] == -1).all()
    assert torch.equal(back[real][:, [0, 2, 4]], targets[flipped][real][:, [0, 2, 4]])
    assert torch.equal(64 - back[real][:, [3, 1]], targets[flipped][real][:, [1, 3]])
    again = TASK.vary(images, targets, torch.Generator().manual_seed(0))
    assert torch.equal(again[0], varied) and torch.equal(again[1], moved)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 16, 16), r"gives \(2, 4, 16, 16\) for images of 64x64: expected"),
        ((2, 7, 15, 16), "expected"),
        ((2, 7), "expected"),
        ((2, 7, 8, 16), "two different strides"),
        ((2, 6, 16, 16), "targets have class 2: the model knows 2 classes"),
    ],
)
def test_outputs_that_do_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        TASK.loss(torch.zeros(shape), TARGETS)


def test_outputs_that_are_no_tensor() -> None:
    with pytest.raises(ArgumentError, match="expected"):
        TASK.decode((torch.zeros(2, 7, 16, 16),))


# --- detectors ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return shapes("detection", train_samples=8, test_samples=4)


def overfit(models, forward, data, steps: int) -> list[float]:
    """Losses of training `models` on one batch."""
    parameters = [p for model in models for p in model.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    images, targets = data.normalized(data.train.images), data.train.targets
    losses = []
    for _ in range(steps):
        loss = data.task.loss(forward(images), targets)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_the_detector_is_small_and_has_its_stages() -> None:
    torch.manual_seed(0)
    model, x = shape_detector(8).eval(), torch.randn(2, 3, 64, 96)
    assert sum(p.numel() for p in model.parameters()) < 1_000_000
    wanted = model(x)
    assert wanted.shape == (2, 12, 16, 24)
    assert model.train()(x).shape == wanted.shape
    model.eval()
    graph = read_graph(model, x[:1, :, :, :64])
    shapes_at = {
        module: cut.tensors[0].shape for cut in graph.list_cuts() for module in cut.modules
    }
    assert [shapes_at[f"backbone.stage{i}"] for i in (1, 2, 3, 4)] == [
        (1, 16, 32, 32),
        (1, 32, 16, 16),
        (1, 64, 8, 8),
        (1, 64, 8, 8),
    ]
    x = x[..., :64]
    wanted = model(x)
    assert not torch.equal(wanted[0], wanted[1])
    for stage in range(1, 5):
        head, tail = graph.split(f"backbone.stage{stage}")
        assert torch.equal(tail(head(x)), wanted)


def test_halves_train_as_the_whole_does(data) -> None:
    torch.manual_seed(0)
    whole = shape_detector(8).train()
    parts = copy.deepcopy(whole)
    head, tail = split(parts, "backbone.stage2", example=torch.zeros(1, 3, 64, 64))
    wanted = overfit([whole], whole, data, 4)
    assert overfit([head, tail], lambda x: tail(head(x)), data, 4) == wanted
    state = parts.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in whole.state_dict().items())


def test_one_batch_is_learned(data) -> None:
    torch.manual_seed(0)
    model = shape_detector(8).train()
    losses = overfit([model], model, data, 60)
    assert losses[-1] < losses[0] / 8
    needs_pycocotools()
    with torch.no_grad():
        outputs = model(data.normalized(data.train.images))
    assert data.task.measure([(outputs, data.train.targets)])["mAP50"] > 0.8


@pytest.mark.slow
def test_layers_of_yolo_with_this_head(data) -> None:
    """YOLOv10n up to a cut at one tensor, trained and split further as any detector."""
    torch.manual_seed(0)
    example = torch.zeros(2, 3, 64, 64)
    # its backbone alone: the whole runs other layers in eval() mode, so its halves keep one mode
    yolo = YOLOv10n()
    stages = OrderedDict((name, getattr(yolo, name)) for name in ("stage3", "stage4", "stage5"))
    backbone, _ = split(nn.Sequential(stages), "stage4", example=example)
    model = detector_on(backbone, 128, 16, 8).train()
    losses = overfit([model], model, data, 12)
    assert losses[-1] < losses[0] / 2
    model.eval()
    x = data.normalized(data.test.images)
    head, tail = split(model, "backbone", example=x)
    assert torch.equal(tail(head(x)), model(x)) and model(x).shape == (4, 12, 16, 16)


@pytest.mark.parametrize("wrong", [{"stride": 2}, {"stride": 12}, {"channels": 0}, {"classes": 0}])
def test_detectors_that_cannot_be(wrong: dict[str, int]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ArgumentError, match=f"{name} is {value}: expected"):
        detector_on(nn.Identity(), **{"channels": 3, "stride": 8, "classes": 2, **wrong})
