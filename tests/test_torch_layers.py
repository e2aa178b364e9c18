"""What operators of PyTorch models compute, and what the layer report says of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pysplitcodec.report.layer_report import layer_report
from pysplitcodec.splitting import read_graph
from pysplitcodec.splitting.layers import open_observed, read_layers

torch = pytest.importorskip("torch", reason="needs torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812


class Block(nn.Module):
    """A residual block whose ReLU and sum write over their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm, self.relu = nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.inner = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.out = nn.Linear(8, 4)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        y = self.inner(x)
        y += x
        return self.out(torch.relu_(y).mean((2, 3)))


def layers_of(model: nn.Module, example, tensors: int = 1):
    graph = read_graph(model.eval(), example)
    return read_layers(graph, graph.list_cuts(tensors))


def test_a_block_by_hand() -> None:
    layers = layers_of(Block(), torch.randn(2, 3, 16, 16))
    kinds = [operator.kind for operator in layers.operators]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "add", "relu", "mean", "Linear"]
    pixels = 16 * 16
    macs = [8 * 27 * pixels, 0, 0, 8 * 2 * 9 * pixels, 0, 0, 0, 8 * 4]
    assert [operator.macs for operator in layers.operators] == macs
    # the running mean and variance of the norm are read, its counter is not
    params = [layers.params([i]) for i in range(len(kinds))]
    assert params == [8 * 27, 4 * 8, 0, 8 * 2 * 9 + 8, 0, 0, 0, 8 * 4 + 4]
    assert layers.weight_bytes(range(len(kinds))) == 4 * sum(params)
    # free dimensions are 1, whatever the example has
    assert layers.inputs[0].shape == (1, 3, 16, 16)
    assert layers.sources(4) == [2, 3]
    cut = next(i for i, cut in enumerate(layers.cuts) if cut.name == "add")
    assert layers.heads[cut] == (0, 1, 2, 3, 4)
    # the sum, and both that it is of
    assert layers.head_ram_bytes(cut) == 3 * 8 * pixels * 4


def test_recurrent_layers_and_attention() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(10, 16, batch_first=True)
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.table = nn.Parameter(torch.randn(16, 7))

        def forward(self, x):
            x, _ = self.lstm(x)
            x, _ = self.attention(x, x, x)
            q = F.scaled_dot_product_attention(x, x, x)
            left, right = q.chunk(2, dim=-1)
            return (left + right) @ self.table.t()[:, :8].t()

    layers = layers_of(Sequence(), torch.randn(3, 5, 10))
    by_kind = {operator.kind: operator for operator in layers.operators}
    assert by_kind["LSTM"].macs == 5 * 4 * 16 * (10 + 16)
    assert by_kind["MultiheadAttention"].macs == 4 * 5 * 16 * 16 + 2 * 5 * 5 * 16
    assert by_kind["scaled_dot_product_attention"].macs == 2 * 5 * 5 * 16
    last = layers.operators[-1]
    assert last.macs == 5 * 8 * 7
    # stored whole, though a part of it is read
    assert layers.params([len(layers.operators) - 1]) == 16 * 7
    chunk = by_kind["chunk"]
    assert len(chunk.writes) == 2
    assert chunk.macs == 0


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (1, 4, 5, 5), 4 * 25 * 3 * 9),
        (nn.Conv3d(2, 3, 2), (1, 2, 5, 6, 7), 3 * 4 * 5 * 6 * 16),
        (nn.LSTM(5, 6, num_layers=2), (1, 9, 5), 9 * (24 * 5 + 24 * 6 + 2 * 24 * 6)),
        (nn.GRU(5, 6, bidirectional=True), (1, 9, 5), 9 * 2 * (18 * 5 + 18 * 6)),
        (nn.RNN(5, 6), (1, 9, 5), 9 * (6 * 5 + 6 * 6)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_modules_by_hand(module, shape, macs) -> None:
    """As an operator of a model, and as the model itself, whose functions are the operators."""

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = module

        def forward(self, x):
            return self.inside(torch.relu(x))

    for model in (Inside(), module):
        layers = layers_of(model, torch.zeros(shape))
        assert layers.macs(range(len(layers.operators))) == macs


def test_products_that_torch_does_not_count_are_not_guessed() -> None:
    library = torch.library.Library("splitcodec_test", "FRAGMENT")
    library.define("mystery(Tensor x) -> Tensor")
    library.impl("mystery", lambda x: x * 2, "CompositeExplicitAutograd")

    class Mystery(nn.Module):
        def forward(self, x):
            x = torch.relu(torch.ops.splitcodec_test.mystery(torch.relu(x)))
            return torch.relu(torch.mv(x, torch.ones(3)))

    layers = layers_of(Mystery(), torch.zeros(2, 3))
    macs = {operator.kind: operator.macs for operator in layers.operators}
    assert macs == {"relu": 0, "mystery": None, "mv": None}
    assert layers.macs(range(len(layers.operators))) is None


def test_tied_weights_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.body = nn.Embedding(9, 4), nn.Linear(4, 4, bias=False)
            self.out = nn.Linear(4, 9, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens):
            return self.out(self.body(self.embed(tokens)))

    layers = layers_of(Tied(), torch.tensor([[1, 2, 3], [1, 2, 3]]))
    assert layers.params(range(3)) == 9 * 4 + 4 * 4


def test_what_is_observed_is_what_heads_give() -> None:
    """Also where an operator in place writes over it later."""
    torch.manual_seed(0)
    model, x = Block().eval(), torch.randn(2, 3, 16, 16)
    graph = read_graph(model, x)
    cuts = graph.list_cuts()
    assert {"norm", "add"} <= {cut.name for cut in cuts}
    seen = open_observed(graph, cuts)(x.numpy())
    with torch.no_grad():
        for cut, tensor in zip(cuts, seen):
            np.testing.assert_array_equal(graph.split(cut).head(x).numpy(), tensor, cut.name)


def test_the_report_of_a_model() -> None:
    torch.manual_seed(0)
    model = Block().eval()
    inputs = [(np.random.default_rng(i).standard_normal((1, 3, 16, 16), "f"),) for i in range(6)]
    report = layer_report(model, inputs, example=torch.randn(2, 3, 16, 16), bits=(1, 4))
    assert (report.format, report.model) == ("pytorch", "Block")
    relu = next(point for point in report.split_points if point.name == "relu")
    assert (relu.shape, relu.bytes) == ([1, 8, 16, 16], 8 * 16 * 16 * 4)
    assert relu.macs_head == 8 * 27 * 256
    assert relu.macs_head + relu.macs_tail == report.macs
    assert relu.coded is not None
    assert relu.coded[0]["pack"] > relu.coded[0]["context"] > 0
    with torch.no_grad():
        given = [model.relu(model.norm(model.stem(torch.from_numpy(x)))) for (x,) in inputs[3:]]
    assert relu.sparsity == pytest.approx(float(np.mean([(t == 0).numpy() for t in given])))
    assert relu.head_ms > 0
    assert relu.tail_ms > 0


@dataclasses.dataclass
class Answer:
    logits: Any
    loss: Any = None


def test_a_dataclass_of_results_and_an_argument_that_is_no_tensor() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x, targets=None):
            return Answer(self.last(torch.relu(self.first(x))), targets)

    model, example = Model().eval(), (torch.randn(2, 4), None)
    layers = layers_of(model, example)
    assert [operator.kind for operator in layers.operators] == ["Linear", "relu", "Linear"]
    assert [output.shape for output in layers.outputs] == [(1, 2)]
    inputs = [(np.ones((1, 4), "f"),), (np.zeros((1, 4), "f"),)]
    report = layer_report(model, inputs, example=example)
    assert [point.name for point in report.split_points] == ["first", "relu"]
    assert all(point.head_ms > 0 and point.tail_ms > 0 for point in report.split_points)
