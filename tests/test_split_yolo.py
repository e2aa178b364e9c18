"""Splitting YOLOv10n, of which the later layers need two to four tensors to be sent."""

from __future__ import annotations

import copy
import io
from collections import Counter

import pytest

from pysplitcodec.errors import SplitError
from pysplitcodec.splitting import Difference, list_cuts, read_graph, split, verify_all

torch = pytest.importorskip("torch", reason="needs torch")
from torch import nn  # noqa: E402
from yolov10n import BINS, YOLOv10n  # noqa: E402

EXAMPLES = {"one": (1, 3, 64, 64), "two": (2, 3, 64, 96)}


def image(*shape: int):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def trained():
    """In eval() mode, with statistics of BatchNorm that keep features away from zero."""
    torch.manual_seed(0)
    model = YOLOv10n().train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(4, 3, 64, 64))
    return model.eval()


def test_architecture_is_the_published_one() -> None:
    with torch.device("meta"):
        model = YOLOv10n()
        shapes = [x.shape for x in model.features(torch.empty(1, 3, 640, 640))]
        assert model.eval()(torch.empty(1, 3, 640, 640)).shape == (1, 300, 6)
    assert shapes == [(1, 64, 80, 80), (1, 128, 40, 40), (1, 256, 20, 20)]

    def folded(part: nn.Module) -> int:
        """Parameters with BatchNorm in the convolutions' biases, the small kernel in the large."""
        convolutions = [
            module
            for name, module in part.named_modules()
            if isinstance(module, nn.Conv2d) and ".small." not in name
        ]
        return sum(conv.weight.numel() + conv.out_channels for conv in convolutions)

    assert folded(model) == 2_299_248  # "2.3 M" in the paper
    # github.com/THU-MIG/yolov10/issues/503: with the bins and a second head, for training
    assert folded(model) + folded(model.detect) + BINS == 2_762_608


def check(model: nn.Module, x, cuts) -> None:
    """The halves equal the whole bit for bit, which is not the same for all inputs."""
    assert not torch.equal(model(x), model(x.flip(3)))
    graph = read_graph(model, x)
    found = Counter(verify_all(model, map(graph.split, cuts), example=x))
    assert found == {Difference(True, 0.0, 0.0): len(cuts)}


def test_every_cut_at_one_tensor(trained) -> None:
    x = image(*EXAMPLES["two"])
    cuts = list_cuts(trained, example=x)
    assert len(cuts) == 25
    check(trained, x, cuts)
    # after the first stage, the neck's skip connections cross every cut before the results meet
    assert {c.name for c in cuts if not c.name.startswith("stage3.")} == {
        "detect.cat:4",
        "detect.transpose",
    }


@pytest.mark.slow
@pytest.mark.parametrize("shape", EXAMPLES)
def test_every_cut_at_up_to_four_tensors(trained, shape: str) -> None:
    x = image(*EXAMPLES[shape])
    check(trained, x, list_cuts(trained, example=x, tensors=4))


def test_cuts_at_up_to_four_tensors(trained) -> None:
    x = image(*EXAMPLES["one"])
    cuts = list_cuts(trained, example=x, tensors=4)
    check(trained, x, cuts[3::9])
    assert Counter(len(cut.tensors) for cut in cuts) == {1: 25, 2: 23, 3: 80, 4: 100}
    sent = {module: [t.name for t in cut.tensors] for cut in cuts for module in cut.modules}
    p3, p4, p5, n3, n4, n5 = (
        f"{name}.fuse.2" for name in ("stage3.4", "stage4.1", "stage5.3", "up3", "down4", "down5")
    )
    assert sent["stage3"] == [p3]
    assert sent["stage4"] == [p3, p4]
    assert sent["stage5"] == [p3, p4, p5]
    assert sent["up4"] == [p3, p5, "up4.fuse.2"]
    assert sent["up3"] == [p5, "up4.fuse.2", n3]
    assert sent["down4"] == [p5, n3, n4]
    assert sent["down5"] == [n3, n4, n5]
    # a view of what is sent too, and BatchNorm before a SiLU in place, which changes no view
    assert sent["stage3.2.blocks.0.0.1"] == [
        "stage3.2.chunk[0]",
        "stage3.2.chunk[1]",
        "stage3.2.blocks.0.0.1",
    ]


def test_halves_take_any_batch_and_refuse_another_size(trained) -> None:
    head, tail = split(trained, "stage3", example=image(1, 3, 64, 64))
    x = image(3, 3, 64, 64)
    assert torch.equal(tail(head(x)), trained(x))
    with pytest.raises(SplitError, match=r"input x has shape \(1, 3, 64, 96\)"):
        head(image(1, 3, 64, 96))
    with pytest.raises(SplitError, match=r"input stage3\.4\.fuse\.2 has shape \(1, 64, 8, 12\)"):
        tail(torch.zeros(1, 64, 8, 12))


@pytest.mark.parametrize("at", ["stage4", "down5"])
def test_a_step_of_training(at: str) -> None:
    """On two machines: gradients of what was sent go back to the head."""
    torch.manual_seed(0)
    whole, x = YOLOv10n().train(), image(2, 3, 64, 64)
    parts = copy.deepcopy(whole)
    head, tail = split(parts, at, example=x, tensors=4)

    def loss(outputs):
        return sum(scale.square().mean() for scale in outputs)

    steps = [torch.optim.SGD(model.parameters(), 0.1) for model in (whole, parts)]
    loss(whole(x)).backward()
    sent = head(x)
    sent = sent if isinstance(sent, tuple) else (sent,)
    received = [tensor.detach().requires_grad_() for tensor in sent]
    loss(tail(*received)).backward()
    torch.autograd.backward(sent, [tensor.grad for tensor in received])
    wanted = dict(whole.named_parameters())
    for name, parameter in parts.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
        assert torch.equal(parameter.grad, wanted[name].grad), name
    for step in steps:
        step.step()
    state = whole.state_dict()  # BatchNorm's statistics too
    assert state.keys() == parts.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in parts.state_dict().items())


def test_the_mode_with_another_end_needs_another_split(trained) -> None:
    x = image(1, 3, 64, 64)
    head, tail = split(trained, "stage3", example=x)
    feature = head(x)
    with pytest.raises(SplitError, match=r"was split in eval\(\) mode"):
        copy.deepcopy(tail).train()(feature)


@pytest.mark.slow
def test_the_saved_model(trained) -> None:
    x, file = image(1, 3, 64, 64), io.BytesIO()
    torch.export.save(torch.export.export(trained, (x,), strict=False), file)
    graph = read_graph(file.getvalue())
    assert len(graph.list_cuts()) == 25
    chosen = ["stage3.4.cat", "stage4", "stage5"]
    splits = [graph.split(at, tensors=4) for at in chosen]
    assert [len(halves.cut.tensors) for halves in splits] == [1, 2, 3]
    assert Counter(verify_all(file.getvalue(), splits)) == {Difference(True, 0.0, 0.0): 3}
