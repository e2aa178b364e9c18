"""Splitting PyTorch models of sequences, and those whose arguments and results have a structure."""

from __future__ import annotations

import copy
import dataclasses
import io
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest

from pysplitcodec.errors import SplitError
from pysplitcodec.runtime import open_model
from pysplitcodec.runtime_torch import as_arguments, head_arguments, tensors_in
from pysplitcodec.splitting import Split, list_cuts, read_graph, split, verify, verify_all

torch = pytest.importorskip("torch", reason="needs torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

WORDS = 11


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def words(*shape: int):
    return torch.randint(1, WORDS, shape)


def check(model: nn.Module, example, others=(), tensors=1) -> list[str]:
    """The halves at every cut equal the whole bit for bit, with and without gradients."""
    graph = read_graph(model, example)
    cuts = graph.list_cuts(tensors)
    for inputs in (example, *others):
        whole, given = as_arguments(inputs), head_arguments(inputs)
        for gradients in (False, True):
            for halves in map(graph.split, cuts):
                with torch.set_grad_enabled(gradients):
                    torch.manual_seed(1)  # for Dropout
                    wanted = model(*whole.args, **whole.kwargs)
                    torch.manual_seed(1)
                    sent = halves.head(*given.args, **given.kwargs)
                    got = halves.tail(*sent) if isinstance(sent, tuple) else halves.tail(sent)
                assert type(got) is type(wanted)
                pairs = list(zip(tensors_in(got), tensors_in(wanted)))
                assert len(pairs) == len(tensors_in(got)) == len(tensors_in(wanted)) > 0
                assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
    return [cut.name for cut in cuts]


class Recurrent(nn.Module):
    def __init__(self, kind: type, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.rnn = kind(6, 7, 2, batch_first=True, **options)
        self.last = nn.Linear(14 if self.rnn.bidirectional else 7, 3)

    def forward(self, x, state=None):
        y, state = self.rnn(torch.relu(self.first(x)), state)
        return self.last(y), state


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers(kind: type, bidirectional: bool) -> None:
    model = Recurrent(kind, bidirectional=bidirectional).eval()
    other_batch_and_length = torch.randn(3, 9, 5)
    names = check(model, torch.randn(2, 4, 5), [other_batch_and_length], tensors=3)
    # what it gives for every step crosses together with the state that is an output
    assert names == ["first", "relu", "rnn[1][0]" if kind is nn.LSTM else "rnn[0]"]


def test_recurrent_layers_in_training() -> None:
    check(Recurrent(nn.LSTM, dropout=0.5).train(), torch.randn(2, 4, 5), tensors=3)


def test_a_state_that_is_given_or_not() -> None:
    model, x = Recurrent(nn.LSTM).eval(), torch.randn(2, 4, 5)
    state = (torch.randn(2, 2, 7), torch.randn(2, 2, 7))
    # the tail would need the state before its first layer
    assert check(model, (x, state), tensors=3) == ["rnn[1][0]"]
    with pytest.raises(SplitError, match=r"'state\[0\]' is an input of the model"):
        split(model, "first", example=(x, state), tensors=3)
    for example in ((x, None), {"state": None, "x": x}):
        assert check(model, example, tensors=3) == ["first", "relu", "rnn[1][0]"]


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rnn = nn.Linear(5, 6), nn.GRU(6, 7, batch_first=True)

    def forward(self, x, lengths):
        x = nn.utils.rnn.pack_padded_sequence(self.first(x), lengths, batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(x)[0], batch_first=True)[0]


def test_packed_sequences_are_refused() -> None:
    with pytest.raises(SplitError, match=r"depends on the values in a tensor.*_pack_padded_seq"):
        list_cuts(Packed(), example=(torch.randn(2, 4, 5), torch.tensor([4, 2])))


class Encoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.out = nn.Embedding(WORDS, 8), nn.Linear(8, WORDS)
        self.encoder = nn.TransformerEncoder(layer, 2, **options)

    def forward(self, tokens, pad=None, mask=None, causal=None):
        x = self.embed(tokens)
        return self.out(self.encoder(x, mask, pad, causal))


@pytest.mark.parametrize("training", [False, True])
def test_encoder(training: bool) -> None:
    """In eval() mode without gradients its layers are computed by a fused kernel."""
    model = Encoder().train(training)
    names = check(model, words(2, 6), [words(3, 6)])
    assert names == ["embed", "encoder.layers.0", "encoder.layers.1"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_encoder_with_padding(training: bool, frozen: bool, nested: bool) -> None:
    """Without gradients nested ones leave out what is masked, which must be so in halves too."""
    model = Encoder(enable_nested_tensor=nested).train(training).requires_grad_(not frozen)
    tokens = words(2, 6)
    tokens[0, 4:] = 0
    others = [{"tokens": tokens.flip(0), "pad": tokens.flip(0) == 0}]
    names = check(model, {"tokens": tokens, "pad": tokens == 0}, others, tensors=2)
    # the layers get a mask that the encoder has made of the one given
    layers = ["encoder.layers.0", "encoder.layers.1"]
    assert names == (["encoder"] if nested else layers)


def test_an_encoder_by_itself() -> None:
    encoder, x = Encoder().eval().encoder, torch.randn(2, 6, 8)
    assert check(encoder, x) == ["layers.0"]
    pad = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    with pytest.raises(SplitError, match="enable_nested_tensor=False"):
        list_cuts(encoder, example={"src": x, "src_key_padding_mask": pad})


def test_encoder_with_a_causal_mask() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    model = Encoder().eval()
    # torch looks into the mask, whether it is causal, unless it is told
    with pytest.raises(SplitError, match="in 'encoder' depends on the values in a tensor"):
        list_cuts(model, example=(words(2, 6), None, mask))
    names = check(model, (words(2, 6), None, mask, True), tensors=2)
    assert names == ["encoder.layers.1"]


class Block(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.norm, self.qkv, self.project = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.fused = fused
        self.register_buffer("mask", torch.ones(16, 16).tril() == 0, persistent=False)

    def forward(self, x):
        n, length, width = x.size()
        parts = self.qkv(self.norm(x)).split(width, dim=2)
        q, k, v = (part.view(n, length, 2, width // 2).transpose(1, 2) for part in parts)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / 2
            y = scores.masked_fill(self.mask[:length, :length], -torch.inf).softmax(-1) @ v
        x = x + self.project(y.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(x)


class Decoder(nn.Module):
    """Token ids int64[N,T] -> what follows the last of them, and the loss where it is wanted."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 8), nn.Embedding(16, 8)
        self.blocks = nn.ModuleList(Block(fused) for _ in range(2))
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens, targets=None):
        places = torch.arange(tokens.size(1), device=tokens.device)
        x = self.words(tokens) + self.places(places)
        for block in self.blocks:
            x = block(x)
        if targets is None:
            return self.out(self.norm(x[:, [-1]])), None
        logits = self.out(self.norm(x))
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("fused", [False, True])
def test_decoder(fused: bool) -> None:
    model = Decoder(fused).eval()
    names = check(model, words(2, 6), [words(3, 6), words(1, 6)])
    assert {"words", "add", "blocks.0.add", "blocks.0.add:2", "blocks.1.add:2", "norm"} <= {*names}
    several = check(model, words(2, 6), tensors=3)
    assert {"blocks.1.qkv", "blocks.1.mlp.2"} <= {*several}
    head, _ = split(model, "blocks.0", example=words(2, 6))
    with pytest.raises(SplitError, match=r"input tokens has shape \(2, 7\)"):
        head(words(2, 7))


def test_a_decoder_trains_in_halves() -> None:
    tokens, whole = words(2, 6), Decoder(fused=True).train()
    parts = copy.deepcopy(whole)
    head, tail = split(parts, "blocks.0", example=tokens)
    for model in (whole, nn.Sequential(head, tail)):
        model(tokens)[0].square().sum().backward()
    wanted = dict(whole.named_parameters())
    for name, parameter in parts.named_parameters():
        assert torch.equal(parameter.grad, wanted[name].grad), name


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(WORDS, 8), nn.Linear(8, WORDS)
        self.transformer = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        both = self.embed(source), self.embed(target)
        return self.out(self.transformer(*both, tgt_mask=mask, tgt_is_causal=True))


@pytest.mark.parametrize("training", [False, True])
def test_encoder_and_decoder(training: bool) -> None:
    model = Translator().train(training)
    example = {"target": words(2, 7), "source": words(2, 6)}
    names = check(model, example, [{"target": words(3, 7), "source": words(3, 6)}], tensors=3)
    assert names == ["transformer.decoder.layers.0", "transformer.decoder.norm"]


class Named(NamedTuple):
    logits: Any
    feature: Any


@dataclasses.dataclass
class Output:
    """With code that may not run a second time on the same fields."""

    logits: Any
    loss: Any = None
    doubled: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.logits = self.logits + 1
        self.doubled = self.logits * 2


class Object:
    def __init__(self, logits: Any) -> None:
        self.logits = logits


RESULTS = {
    "named": Named,
    "dict": lambda y, x: {"logits": y, "more": [x, None, (y + 1,)], "count": 3},
    "ordered": lambda y, x: OrderedDict(logits=y, feature=x),
    "dataclass": lambda y, _: Output(y),
    "inner": lambda y, x: {"inner": Output(y, loss=x.sum()), "more": (x,)},
    "object": lambda y, _: Object(y),
}


class Structured(nn.Module):
    def __init__(self, result: str) -> None:
        super().__init__()
        self.first, self.last, self.result = nn.Linear(4, 4), nn.Linear(4, 2), result

    def forward(self, x, flag=True, extra=None, *, scale=None):
        x = torch.relu(self.first(x))
        x = x if extra is None else x + extra
        x = x if scale is None else x * scale
        return RESULTS[self.result](self.last(x if flag else -x), x)


@pytest.mark.parametrize("result", [name for name in RESULTS if name != "object"])
def test_structured_results(result: str) -> None:
    model = Structured(result).eval()
    names = check(model, torch.randn(2, 4), [torch.randn(3, 4)], tensors=2)
    assert names[:2] == ["first", "relu"]
    x = torch.randn(2, 4)
    halves = split(model, "relu", example=x)
    other = split(Structured(result).eval(), "relu", example=x)
    assert verify(model, halves, example=x).identical
    assert not verify(model, Split(halves.head, other.tail, halves.cut), example=x).identical
    # to put the results together is no work for a tail
    assert ("last" in names) == (result in ("dict", "dataclass", "inner"))


def test_results_in_other_objects_are_refused() -> None:
    with pytest.raises(SplitError, match="passes tensors in a Object, not in tuples"):
        list_cuts(Structured("object"), example=torch.randn(2, 4))


@pytest.mark.parametrize(
    ("example", "names"),
    [
        (lambda x: (x, False, None), ["first", "relu"]),
        (lambda x: (x, True, x), ["add"]),
        (lambda x: {"scale": 2.0, "x": x, "extra": None}, ["first", "relu", "mul"]),
        (lambda x: {"x": x, "scale": torch.tensor(2.0)}, ["mul"]),
    ],
)
def test_optional_arguments(example, names: list[str]) -> None:
    model, example = Structured("dict").eval(), example(torch.randn(2, 4))
    assert [n for n in check(model, example) if n != "last"] == names
    graph = read_graph(model, example)
    splits = [graph.split(cut) for cut in graph.list_cuts()]
    assert all(d.identical for d in verify_all(model, splits, example=example))
    # a saved model takes its tensors, wherever in the arguments they were
    file, arguments = io.BytesIO(), as_arguments(example)
    torch.export.save(torch.export.export(model, *arguments, strict=False), file)
    data = file.getvalue()
    assert len(open_model(data).inputs) == len(tensors_in(tuple(arguments)))
    graph = read_graph(data)
    cuts = graph.list_cuts()
    assert [cut.after for cut in cuts][: len(names)] == [
        "Linear" if name == "first" else name for name in names
    ]
    assert all(difference.identical for difference in verify_all(data, map(graph.split, cuts)))
