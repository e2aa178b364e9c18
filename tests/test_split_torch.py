"""Splitting PyTorch models: the halves together compute what the whole does, bit for bit."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError, ModelError, SplitError
from pysplitcodec.runtime import open_model
from pysplitcodec.splitting import (
    Difference,
    Split,
    list_cuts,
    read_graph,
    split,
    verify,
    verify_all,
)

torch = pytest.importorskip("torch", reason="needs torch")
from cifar_resnet import trained_resnet20  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from pysplitcodec.train.models import CifarResNet  # noqa: E402

# Architecture -> side of the square input, how many cuts it has.
CUTS = {
    "resnet18": (64, 22),
    "alexnet": (64, 21),
}
SLOW_CUTS = {
    "swin_t": (64, 43),
    "vit_b_16": (64, 32),
    "mobilenet_v2": (64, 72),
    "resnet50": (64, 38),
    "resnet34": (64, 38),
    "resnet152": (64, 106),
    "densenet169": (32, 24),
    "densenet201": (32, 24),
    "efficientnet_v2_s": (64, 81),
    "vgg16": (32, 39),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def prove(model: nn.Module, example, inputs=None, tensors=1):
    """Check that the halves equal the whole at every cut, in eval() mode; give the cuts."""
    model.eval()
    inputs = example if inputs is None else inputs
    args, kwargs = (), {}
    if isinstance(inputs, dict):
        kwargs = inputs
    else:
        args = inputs if isinstance(inputs, tuple) else (inputs,)
    graph = read_graph(model, example)
    cuts = graph.list_cuts(tensors)
    assert cuts == list_cuts(model, example=example, tensors=tensors)
    names = set(model.state_dict())
    with torch.no_grad():
        whole = model(*args, **kwargs)
        for cut in cuts:
            head, tail = graph.split(cut)
            sent = head(*args, **kwargs)
            sent = sent if isinstance(sent, tuple) else (sent,)
            if inputs is example:
                # free dimensions, the first, are 1
                assert [t.shape[1:] for t in sent] == [t.shape[1:] for t in cut.tensors]
            assert [str(t.dtype) for t in sent] == [f"torch.{t.dtype}" for t in cut.tensors]
            before = [t.clone() for t in sent]
            torch.testing.assert_close(tail(*sent), whole, rtol=0, atol=0, equal_nan=True)
            assert all(torch.equal(*pair) for pair in zip(sent, before)), "the tail changed them"
            assert {*head.state_dict(), *tail.state_dict()} == names
    return cuts


def check_architecture(architecture, name: str, side: int, count: int) -> None:
    model, x = architecture(name, side)
    with torch.no_grad():
        assert not torch.equal(model(x), model(torch.randn_like(x))), "any halves would be equal"
    cuts = prove(model, x)
    assert len(cuts) == count
    assert len({cut.name for cut in cuts}) == count


@pytest.mark.parametrize("name", CUTS)
def test_every_cut_of(architecture, name: str) -> None:
    check_architecture(architecture, name, *CUTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_CUTS)
def test_every_cut_of_large(architecture, name: str) -> None:
    check_architecture(architecture, name, *SLOW_CUTS[name])


def test_trained_weights(data_dir: Path) -> None:
    model = trained_resnet20(data_dir)
    cuts = prove(model, torch.randn(2, 3, 32, 32), torch.randn(5, 3, 32, 32))
    assert len(cuts) == 23
    assert [cut.name for cut in cuts if "layer2" in cut.modules] == ["layer2.2.relu:2"]


def test_cuts_say_what_they_are() -> None:
    cuts = list_cuts(CifarResNet(), example=torch.randn(1, 3, 32, 32))
    layer1, layer2 = (next(c for c in cuts if m in c.modules) for m in ("layer1.2", "layer2"))
    assert (layer2.shape, layer2.dtype, layer2.elements) == ((1, 32, 16, 16), "float32", 8192)
    assert (layer2.nbytes, layer2.after) == (32768, "relu")
    assert layer1.modules == ("layer1.2", "layer1")
    assert cuts[0].repeats is None
    assert cuts[layer1.index].repeats == 0
    assert [cut.index for cut in cuts] == list(range(len(cuts)))
    before = [cut.operators_before for cut in cuts]
    assert before == sorted(before)


class TwoInputs(nn.Module):
    """Two inputs that join late; outputs in a dict, one of them before the end."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)
        self.body, self.classes, self.box = nn.Linear(6, 6), nn.Linear(6, 2), nn.Linear(6, 4)

    def forward(self, left, pair, *, scale: float = 2.0):
        joined = self.left(left) + self.right(pair[0] - pair[1]) * scale
        shared = torch.relu(self.body(joined))
        box = self.box(shared)
        return {"classes": self.classes(shared), "boxes": [box, (box * 2, joined)], "n": 3}


@pytest.mark.parametrize("named", [False, True])
def test_inputs_and_outputs_of_any_structure(named: bool) -> None:
    left, pair = torch.randn(2, 4), [torch.randn(2, 3), torch.randn(2, 3)]
    example = {"pair": pair, "left": left, "scale": 3.0} if named else (left, pair)
    if named:
        head, tail = split(TwoInputs().eval(), "add", example={"left": left, "pair": pair})
        assert tail(head(left=left, pair=pair))["n"] == 3
        cuts = list_cuts(TwoInputs(), example=example)
    else:
        cuts = prove(TwoInputs(), example)
    # what follows the sum needs it again: "joined" is an output too
    assert [cut.name for cut in cuts] == ["add"]
    several = list_cuts(TwoInputs(), example=example, tensors=2)
    assert "body" in [cut.name for cut in several]


class Features(NamedTuple):
    small: object
    large: object


class Outputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        return Features(self.deep(x), x)


def test_an_output_that_the_tail_passes_on() -> None:
    x = torch.randn(2, 4)
    (cut,) = prove(Outputs(), x)
    assert cut.name == "stem"
    head, tail = split(Outputs(), cut.name, example=x)
    assert isinstance(tail(head(x)), Features)


class Windows(nn.Module):
    """Code that asks for shapes, as attention in windows and vision transformers do."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Conv2d(3, 8, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.table = nn.Parameter(torch.randn(7, 8))
        self.register_buffer("index", torch.arange(7), persistent=False)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.embed(x)
        n, c, h, w = x.shape
        if h % self.size:
            x = F.pad(x, (0, 0, 0, self.size - h % self.size))
            h = x.shape[2]
        windows = x.view(n, c, h // self.size, self.size, w // self.size, self.size)
        windows = windows.permute(0, 2, 4, 3, 5, 1).reshape(-1, self.size**2, c)
        windows = torch.cat([self.token.expand(windows.shape[0], -1, -1), windows], 1)
        bias = self.table[self.index].mean(0)
        windows = self.norm(windows + bias)
        windows = windows + self.attention(windows, windows, windows, need_weights=False)[0]
        windows = windows[:, 0].view(n, -1, c)
        return self.out(windows.mean(1) + bias)


def test_control_flow_on_shapes() -> None:
    cuts = prove(Windows(), torch.randn(1, 3, 12, 16))
    assert len(cuts) > 10
    # a batch of another size goes through the same halves
    prove(Windows(), torch.randn(2, 3, 12, 16), torch.randn(3, 3, 12, 16))
    prove(Windows(), torch.randn(1, 3, 12, 16), torch.randn(3, 3, 12, 16))
    head, tail = split(Windows(), "norm", example=torch.randn(1, 3, 12, 16))
    with pytest.raises(SplitError, match=r"input x has shape \(1, 3, 16, 16\)"):
        head(torch.randn(1, 3, 16, 16))
    with pytest.raises(SplitError, match="input norm has shape"):
        tail(torch.randn(4, 5, 8))


class ByBatch(nn.Module):
    """Decides by the size of the batch, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.first, self.last, self.way = nn.Linear(4, 4), nn.Linear(4, 4), way

    def forward(self, x):
        x = self.first(x)
        if self.way == "more than one":
            x = x - x.mean(0) if x.shape[0] > 1 else x
        elif self.way == "three":
            x = x * 2 if x.shape[0] == 3 else x
        elif self.way == "factor":
            x = x * (2 if x.shape[0] == 1 else 3)
        elif self.way == "len":
            x = x / len(x)
        elif self.way == "rows":
            x = torch.stack([row * i for i, row in enumerate(x)])
        else:
            x = torch.cat([part + i for i, part in enumerate(x.split(2))])
        return self.last(x)


@pytest.mark.parametrize("way", ["more than one", "three", "factor", "len", "rows", "split"])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_halves_refuse_a_batch_that_would_run_other_operators(way: str, batch: int) -> None:
    model = ByBatch(way).eval()
    prove(model, torch.randn(batch, 4))
    for cut in list_cuts(model, example=torch.randn(batch, 4)):
        head, tail = split(model, cut, example=torch.randn(batch, 4))
        for other in (1, 2, 3, 5):
            x = torch.randn(other, 4)
            try:
                got = tail(head(x))
            except SplitError:
                assert other != batch
            else:
                assert torch.equal(got, model(x))


class InPlace(nn.Module):
    """Writes into tensors through views, indexing and in-place operators."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.first(x)
        before = x.sum(1, keepdim=True)
        view = x.view(-1, 2, 2)
        view[:, 0] += 1
        x[:, 3] = 0.5
        y = self.relu(x)
        y += before
        z = self.last(y)
        z[:, 0].mul_(3)
        return z


def test_operators_in_place() -> None:
    prove(InPlace(), torch.randn(3, 4))
    prove(InPlace(), torch.randn(3, 4), tensors=3)


class Detector(nn.Module):
    """Splits channels, concatenates earlier results and gives three scales, as YOLO does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU())
        self.widen = nn.Conv2d(8, 8, 1)
        self.inner = nn.Conv2d(4, 4, 3, 1, 1)
        self.fuse = nn.Conv2d(12, 8, 1)
        self.down = nn.Conv2d(8, 8, 3, 2, 1)
        self.neck = nn.Conv2d(16, 8, 1)
        self.heads = nn.ModuleList(nn.Conv2d(8, 5, 1) for _ in range(2))

    def forward(self, x):
        parts = list(self.widen(self.stem(x)).chunk(2, 1))
        parts.append(self.inner(parts[-1]))
        large = self.fuse(torch.cat(parts, 1))
        small = self.down(large)
        up = F.interpolate(small, scale_factor=2.0, mode="nearest")
        large = self.neck(torch.cat([up, large], 1))
        return [head(x) for head, x in zip(self.heads, (large, small))]


def test_cuts_of_several_tensors() -> None:
    x = torch.randn(1, 3, 32, 32)
    single = prove(Detector(), x, torch.randn(2, 3, 64, 32))
    assert [cut.name for cut in single] == ["stem.0", "stem.1", "stem.2", "widen", "cat", "fuse"]
    several = prove(Detector(), x, tensors=2)
    down = next(cut for cut in several if cut.name == "down")
    assert [t.name for t in down.tensors] == ["fuse", "down"]
    assert (down.elements, down.nbytes) == (2048 + 512, 4 * (2048 + 512))
    with pytest.raises(SplitError, match="2 tensors are sent"):
        down.shape  # noqa: B018
    with pytest.raises(SplitError, match=r"would send 2 tensors \('fuse', 'down'\)"):
        split(Detector(), "down", example=x)
    model = Detector().eval()
    head, tail = split(model, ["down", "fuse"], example=x)
    sent = head(x)
    assert [tuple(tensor.shape) for tensor in sent] == [t.shape for t in down.tensors]
    torch.testing.assert_close(tail(*sent), model(x), rtol=0, atol=0)
    with pytest.raises(SplitError, match="'cat' need not be sent"):
        split(model, ["fuse", "cat"], example=x)


class Moody(nn.Module):
    """Dropout as module and as function, BatchNorm, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.ones(8))
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.drop(self.norm(self.first(x)))
        x = F.dropout(torch.relu(x * self.scale), 0.3, training=self.training)
        x = F.dropout(x, 0.3 if self.training else 0.0)
        return self.last(x)


@pytest.mark.parametrize("split_in_training", [False, True])
def test_train_and_eval(split_in_training: bool) -> None:
    x = torch.randn(16, 6)
    for index in range(len(list_cuts(Moody(), example=x))):
        whole = Moody().train(split_in_training)
        half_of = copy.deepcopy(whole)
        halves = nn.Sequential(*split(half_of, index, example=x))
        for training in (True, False, True):
            halves.train(training)
            whole.train(training)
            torch.manual_seed(1)
            want = whole(x)
            torch.manual_seed(1)
            got = halves(x)
            assert torch.equal(got, want)
            whole.zero_grad()
            halves.zero_grad()
            want.square().sum().backward()
            got.square().sum().backward()
        named = dict(half_of.named_parameters())
        for name, parameter in whole.named_parameters():
            assert torch.equal(named[name].grad, parameter.grad), name
        for name, value in whole.state_dict().items():
            assert torch.equal(half_of.state_dict()[name], value), name


def test_a_frozen_part_stays_in_its_mode() -> None:
    model = Moody().train()
    model.norm.eval()
    model.drop.eval()
    list_cuts(model, example=torch.randn(4, 6))
    assert [m.training for m in (model, model.norm, model.drop, model.last)] == [
        True,
        False,
        False,
        True,
    ]
    head, _ = split(model, "drop", example=torch.randn(4, 6))
    assert head.training
    assert not head.norm.training


class OtherInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.aside, self.last = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.body(x)
        if self.training:
            return self.last(x), self.aside(x)
        return self.last(x)


@pytest.mark.parametrize("training", [False, True])
def test_halves_refuse_the_mode_with_other_operators(training: bool) -> None:
    model = OtherInTraining().train(training)
    x = torch.randn(2, 4)
    head, tail = split(model, "body", example=x)
    torch.testing.assert_close(tail(head(x)), model(x), rtol=0, atol=0)
    feature = head(x)
    for half, given in ((head, x), (tail, feature)):
        half.train(not training)
        with pytest.raises(SplitError, match="runs other operators in train"):
            half(given)


def test_splitting_leaves_the_model_as_it_was() -> None:
    model = Moody().train()
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    split(model, "norm", example=torch.randn(4, 6, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), random)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert nn.Module.__call__ is nn.Module._wrapped_call_impl


def test_halves_save_load_copy_and_export(tmp_path: Path) -> None:
    model, x = Windows().eval(), torch.randn(1, 3, 16, 16)
    head, tail = split(model, "norm", example=x)
    want = model(x)
    assert "index" not in tail.state_dict()
    torch.save(tail.state_dict(), tmp_path / "tail.pt")
    fresh = split(Windows().eval(), "norm", example=x).tail
    fresh.load_state_dict(torch.load(tmp_path / "tail.pt", weights_only=True))
    assert torch.equal(fresh(head(x)), want)
    torch.save(tail, tmp_path / "whole_tail.pt")
    loaded = torch.load(tmp_path / "whole_tail.pt", weights_only=False)
    assert torch.equal(loaded(head(x)), want)
    assert torch.equal(copy.deepcopy(tail)(copy.deepcopy(head)(x)), want)
    exported = torch.export.export(head, (x,)).module()
    assert torch.equal(tail(exported(x)), want)
    # a half saved as a whole keeps to its mode as before
    moody = split(Moody(), "norm", example=torch.randn(4, 6)).tail
    torch.save(moody, tmp_path / "moody.pt")
    moody = torch.load(tmp_path / "moody.pt", weights_only=False).eval()
    y = torch.randn(4, 8)
    assert torch.equal(moody(y), moody(y))


def test_random_numbers_are_drawn_once() -> None:
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            noise = torch.rand(4)
            return self.last(self.first(x) + noise) * noise

    x = torch.randn(2, 4)
    names = [cut.name for cut in list_cuts(Noisy(), example=x)]
    assert "add" not in names
    assert "last" not in names
    with pytest.raises(SplitError, match=r"would send 2 tensors \('rand', 'last'\)"):
        split(Noisy(), "last", example=x)


def test_wrong_split_points() -> None:
    model, x = CifarResNet(), torch.randn(1, 3, 32, 32)
    with pytest.raises(SplitError, match=r"nothing named 'layer_2'.* similar names: .*'layer2'"):
        split(model, "layer_2", example=x)
    with pytest.raises(
        SplitError,
        match=r"'layer1.0.conv1' would send 2 tensors \('relu', 'layer1.0.conv1'\).*"
        r"nearest before it is \d+, 'relu'.*nearest after it is \d+, 'layer1.0.add'",
    ):
        split(model, "layer1.0.conv1", example=x)
    for at, text in (
        ("x", "is an input of the model"),
        ("linear", "is the model's output"),
        (99, "there is no cut 99"),
        (-1, "there is no cut -1"),
        (list_cuts(Moody(), example=torch.randn(4, 6))[0], "belongs to another"),
    ):
        with pytest.raises(SplitError, match=text):
            split(model, at, example=x)
    with pytest.raises(ArgumentError, match="at must be"):
        split(model, 1.5, example=x)


def test_wrong_examples() -> None:
    model = CifarResNet()
    with pytest.raises(ArgumentError, match="needs an example"):
        list_cuts(model)
    with pytest.raises(ArgumentError, match="at least one tensor, not str"):
        list_cuts(model, example="image")
    with pytest.raises(ArgumentError, match="positive int"):
        list_cuts(model, example=torch.randn(1, 3, 32, 32), tensors=0)
    with pytest.raises(SplitError, match=r"in 'conv1'|does not run on the example"):
        list_cuts(model, example=torch.randn(1, 4, 32, 32))
    with pytest.raises(SplitError, match="does not fit the model's forward"):
        list_cuts(model, example={"image": torch.randn(1, 3, 32, 32)})
    with pytest.raises(ArgumentError, match="for PyTorch models"):
        list_cuts(b"", example=torch.zeros(1))


class ByValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))

    def forward(self, x):
        x = self.inner(x)
        return x if x.sum() > 0 else -x


class Counting(nn.Module):
    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.inner, self.in_place = nn.Linear(4, 4), in_place
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.in_place:
            self.calls += 1
        else:
            self.calls = self.calls + 1
        return self.inner(x) * self.calls


def test_models_that_cannot_be_split() -> None:
    x = torch.randn(2, 4)
    with pytest.raises(SplitError, match="depends on the values in a tensor"):
        list_cuts(ByValue(), example=x)
    for in_place in (True, False):
        model = Counting(in_place)
        with pytest.raises(SplitError, match="changes 'calls'"):
            list_cuts(model, example=x)
        assert type(model.calls) is torch.Tensor
        assert model.calls == 0
    assert list_cuts(nn.Linear(4, 4), example=x) == []
    with pytest.raises(SplitError, match="cannot be cut anywhere"):
        split(nn.Linear(4, 4), 0, example=x)


def test_autocast_inside_is_refused() -> None:
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.first(x)
            with torch.autocast("cpu", torch.bfloat16):
                x = self.last(x)
            return x.float() * 2

    x = torch.randn(2, 4)
    with pytest.raises(SplitError, match="runs Linear under autocast"):
        list_cuts(Mixed(), example=x)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        head, tail = split(model, 0, example=x)
        assert head(x).dtype == torch.bfloat16
        assert torch.equal(tail(head(x)), model(x))


def test_tied_weights() -> None:
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.body = nn.Embedding(9, 4), nn.Linear(4, 4)
            self.out = nn.Linear(4, 9, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens):
            return self.out(self.body(self.embed(tokens)))

    model, tokens = Tied(), torch.tensor([[1, 2, 3]])
    assert [cut.name for cut in prove(model, tokens)] == ["embed", "body"]
    head, tail = split(model, "body", example=tokens)
    assert head.embed.weight is tail.out.weight is model.embed.weight


def test_torch_is_imported_for_torch_models_only() -> None:
    code = (
        "import sys, pysplitcodec.splitting as s\n"
        "try: s.split('none.tflite', 0)\n"
        "except (OSError, ValueError, ImportError): pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def saved(model: nn.Module, example) -> bytes:
    """What a user saves, whose first dimension is free."""
    file = io.BytesIO()
    free = tuple({0: torch.export.Dim.AUTO} for _ in example)
    program = torch.export.export(model.eval(), example, dynamic_shapes=free, strict=False)
    torch.export.save(program, file)
    return file.getvalue()


def test_every_cut_of_a_file() -> None:
    """Saved models keep the names of their modules, and their halves are such files again."""
    model, x = CifarResNet().eval(), torch.randn(2, 3, 32, 32)
    data = saved(model, (x,))
    graph = read_graph(data)
    cuts = graph.list_cuts()
    assert [cut.name for cut in cuts] == [cut.name for cut in list_cuts(model, example=x)]
    chosen = cuts[::5]
    found = list(verify_all(data, map(graph.split, chosen)))
    assert found == [Difference(True, 0.0, 0.0)] * len(chosen)
    halves = graph.split("layer2.0")
    head, tail = map(open_model, halves)
    assert (head.inputs[0].shape, head.outputs[0].shape) == ((1, 3, 32, 32), (1, 32, 16, 16))
    batch = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype("float32")
    answer = model(torch.from_numpy(batch)).detach().numpy()
    np.testing.assert_array_equal(tail(*head(batch))[0], answer)
    kept = {*torch.export.load(io.BytesIO(halves.head)).state_dict}
    assert "layer2.0.conv2.weight" in kept
    assert not any(name.startswith("layer3") for name in kept)


def test_files_with_several_inputs_and_outputs() -> None:
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.out = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, a, b):
            joined = torch.relu(self.left(a) + self.right(b))
            return {"out": self.out(joined), "sums": (joined.sum(1),)}

    data = saved(Pair(), (torch.randn(2, 4), torch.randn(2, 3)))
    assert [cut.name for cut in list_cuts(data)] == ["add", "relu"]
    with pytest.raises(SplitError, match=r"at 'left' would send more: 'args_1' is an input of the"):
        split(data, "left", tensors=2)
    assert verify(data, split(data, "relu")).identical
    assert verify(data, split(data, ["left", "right"])).identical
    assert [info.shape for info in open_model(data).inputs] == [(1, 4), (1, 3)]


def test_verifying_modules() -> None:
    model, x = CifarResNet(), torch.randn(1, 3, 32, 32)
    halves = split(model.eval(), "layer1", example=x)
    assert verify(model, halves, example=x) == Difference(True, 0.0, 0.0)
    given = [(np.ones((3, 3, 32, 32), "float32"),)]
    assert verify(model, halves, given, example={"x": x}).identical
    wrong = Split(halves.head, split(CifarResNet().eval(), "layer1", example=x).tail, halves.cut)
    assert not verify(model, wrong, example=x).identical
    with pytest.raises(ArgumentError, match=r"in train\(\) mode"):
        verify(model.train(), halves, example=x)


def test_files_that_are_none() -> None:
    data = saved(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), (torch.randn(2, 4),))
    for broken in (b"PK\x03\x04", data[:200], data[: len(data) // 2]):
        with pytest.raises(ModelError, match=r"not a model that torch\.export saved"):
            list_cuts(broken)
    with pytest.raises(ModelError, match="input 'input' must be float32"):
        open_model(data)(np.zeros((1, 4)))
    with pytest.raises(ModelError, match="failed to run"):
        open_model(data)(np.zeros((1, 5), "float32"))
    with pytest.raises(ArgumentError, match="threads must be at least 1"):
        open_model(data, threads=0)
