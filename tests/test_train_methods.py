"""What methods compute: bottlenecks, losses, centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import pysplitcodec as sc  # noqa: E402
from pysplitcodec.train.autoencoder import autoencoder, folded  # noqa: E402
from pysplitcodec.train.levels import assignment, gap, look_up, nearest  # noqa: E402
from pysplitcodec.train.parts import METHODS, composed  # noqa: E402
from pysplitcodec.train.qat import qat  # noqa: E402
from pysplitcodec.train.rate import rate  # noqa: E402
from pysplitcodec.train.tcl import clustering_loss, tcl, temperature  # noqa: E402
from pysplitcodec.train.wire import CentroidWire  # noqa: E402

TAUS = (3.0, 2.0, 1.0, 0.5, 0.1)


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


@pytest.mark.parametrize(
    "shape", [(64, 8, 8), (64, 7, 9), (3, 1, 1), (1, 5, 4), (30, 2, 1), (17, 224, 113)]
)
@pytest.mark.parametrize("last", ["silu", "none"])
def test_autoencoder_restores_every_size(shape: tuple[int, int, int], last: str) -> None:
    encoder, decoder = autoencoder(shape, last=last)
    x = features(2, *shape)
    feature = encoder(x)
    channels, height, width = shape
    assert feature.shape[1:] == (-(-channels // 4), -(-height // 2), -(-width // 2))
    assert decoder(feature).shape == x.shape
    if all(side % 2 == 0 for side in shape) and channels % 4 == 0:
        assert feature.numel() * 16 == x.numel()
    assert (feature.min() < -0.3) == (last == "none")  # SiLU ends at -0.28


def test_batch_norm_is_folded() -> None:
    encoder, _ = autoencoder((16, 9, 7))
    for _ in range(5):
        encoder(features(8, 16, 9, 7) * 3 + 1)
    small = folded(encoder)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in small.modules())
    x = features(4, 16, 9, 7, seed=1)
    assert torch.allclose(small(x), encoder.eval()(x), atol=1e-5)


@pytest.mark.parametrize("tau", TAUS)
def test_clustering_loss_is_the_papers_of_one_bit(tau: float) -> None:
    x, low, high = features(4, 3, 8, 8).double(), -0.7, 1.1
    alpha, beta = (high - low) / 2, (low + high) / 2  # equations 3 and 4
    wanted = ((alpha - (x - beta).abs()).abs() / (high - low)).pow(tau)  # equation 2
    got = clustering_loss(x, torch.tensor([low, high]).double(), tau)
    assert got.item() == pytest.approx(wanted.mean().item(), rel=1e-3)


@pytest.mark.parametrize("tau", TAUS)
def test_clustering_loss_is_the_papers_of_two_bits(tau: float) -> None:
    mu = torch.tensor([-1.3, -0.2, 0.4, 1.6]).double()
    x = features(4, 3, 8, 8).double()
    # equations 5 and 6, for each element, and 8: they cross in the middle of the pairs
    pair = [
        ((b - a) / 2 - (x - (a + b) / 2).abs()).abs() for a, b in ((mu[0], mu[1]), (mu[2], mu[3]))
    ]
    c0, c1 = ((one / gap(mu)).pow(tau) for one in pair)
    middle = (mu[1] + mu[2]) / 2
    further = -torch.where(x <= middle, c1, c0)  # equation 7
    wanted = (c0 + c1 + further).mean()  # equation 9
    assert clustering_loss(x, mu, tau).item() == pytest.approx(wanted.item(), rel=1e-3)


@pytest.mark.parametrize("bits", range(1, 9))
def test_clustering_loss_is_the_least_distance(bits: int) -> None:
    x = features(2, 4, 6, 6)
    mu = features(1 << bits, seed=2).sort().values
    least = (x[..., None] - mu).abs().amin(-1) / gap(mu)
    for tau in TAUS:
        wanted = least.clamp(min=1e-3).pow(tau).mean()
        assert torch.allclose(clustering_loss(x, mu, tau), wanted, rtol=1e-4)


def test_clustering_loss_has_finite_gradients_everywhere() -> None:
    mu = torch.tensor([0.0, 1.0])
    x = torch.tensor([0.0, 1e-9, 1e-4, 0.4, 0.5, 0.6, 1.0, 7.0], requires_grad=True)
    clustering_loss(x[None, None, None], mu, 0.1).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad[0] == x.grad[6] == 0
    assert x.grad[3] > 0 > x.grad[5]  # down is towards the centroid


def test_temperature_is_linear() -> None:
    assert [temperature((3.0, 0.1), at) for at in (0, 0.5, 1)] == pytest.approx([3.0, 1.55, 0.1])


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_nearest_is_what_the_codec_quantises_to(bits: int) -> None:
    x = features(5, 6, 4, 7)
    book = sc.Codebook.fit(x.numpy(), bits)
    centroids = torch.from_numpy(book.centroids.copy())
    assert np.array_equal(nearest(x, centroids).numpy(), book.quantize(x.numpy()))
    books = sc.Codebook.fit_channels(x.numpy(), bits, 1)
    wire = CentroidWire(books, x.shape[1:])
    table = torch.from_numpy(np.stack([one.centroids for one in books]))
    assert torch.equal(look_up(nearest(x, table), table), wire.restore(x))


@pytest.mark.parametrize("per_channel", [False, True])
def test_straight_through(per_channel: bool) -> None:
    method = qat(2, per_channel=per_channel)
    x = features(4, 3, 5, 5)
    method.begin(x.numpy())
    x.requires_grad_()
    sent, terms = method(x, 0.0)
    assert not terms
    weights = torch.arange(1.0, x.numel() + 1).view(x.shape)
    (sent * weights).sum().backward()
    centroids = method.quantizer.centroids().detach()
    table = centroids if per_channel else centroids.expand(3, 4)
    low, high = (table[None, :, [i], None] for i in (0, -1))
    reach = (high - low) / 6
    passes = (x > low - reach) & (x < high + reach)
    assert 0.5 < passes.float().mean() < 1
    assert torch.equal(x.grad, weights * passes)
    indices = nearest(x, method.quantizer.centroids())
    # a centroid's gradient is the sum over what it stands for
    first = indices == 0
    if per_channel:
        first[:, 1:] = False
    wanted = weights[first].sum()
    assert method.quantizer.levels.grad.flatten()[0] == wanted
    assert torch.allclose(method.wire(x.detach().numpy()).restore(x), sent.detach(), atol=1e-6)


def test_centroids_that_met_are_parted() -> None:
    method = qat(2)
    method.begin(features(2, 2, 4, 4).numpy())
    with torch.no_grad():
        method.quantizer.levels.copy_(torch.tensor([1.0, 1.0, 0.5, 1.0]))
    wire = method.wire(np.zeros((1, 2, 4, 4), np.float32))
    assert np.allclose(wire.plain.codebook.centroids, [0.5, 1, 1, 1])


def test_tcl_draws_to_its_centroids() -> None:
    method = tcl(1, task_weight=0.25, tau=(2.0, 0.5))
    x = features(8, 2, 6, 6)
    method.begin(x.numpy())
    before = method.quantizer.centroids().clone()
    x.requires_grad_()
    optimizer = torch.optim.SGD([x], 20.0)
    losses = []
    for step in range(100):
        sent, terms = method(x, step / 100)
        total = method.total(torch.tensor(3.0), terms)
        assert total.item() == pytest.approx(0.75 + 0.75 * terms["clustering"].item(), rel=1e-5)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(terms["clustering"].item())
    assert sent is x
    spread = (x - look_up(nearest(x, before), before)).abs().mean() / gap(before)
    assert spread < 0.05
    assert torch.equal(method.quantizer.centroids(), before)


def test_channel_prior_is_the_entropy() -> None:
    method = rate(2, prior="channel")
    # two channels: one constant, one with four levels equally often
    x = torch.zeros(4, 2, 4, 4)
    x[:, 1] = torch.arange(4.0)[None, :, None]
    method.begin(x.numpy())
    _, terms = method(x, 0.0)
    assert terms["rate"].item() == pytest.approx((0 + 2) / 2, abs=0.01)


def test_context_prior_learns_what_the_coder_sees() -> None:
    """Rows repeat: after the first row nothing is new, to the prior and to the coder."""
    method = rate(1, prior="context")
    rows = (features(400, 3, 1, 8) > 0).float()
    x = rows.expand(400, 3, 8, 8).contiguous()
    method.begin(x.numpy())
    optimizer = torch.optim.Adam(method.losses["rate"].parameters(), 0.05)
    for step in range(300):
        batch = x[step % 10 * 40 : step % 10 * 40 + 40]
        _, terms = method(batch, 0.0)
        optimizer.zero_grad()
        terms["rate"].backward()
        optimizer.step()
    bits = terms["rate"].item()
    assert 1 / 8 < bits < 1 / 8 + 0.08
    coded = method.wire(x.numpy()).payload_bytes(x[:300].numpy(), x[300:].numpy())
    assert coded["context"] * 8 / (3 * 64) == pytest.approx(bits, abs=0.1)
    assert coded["context"] < coded["lzma"] < coded["pack"]


def test_context_prior_starts_with_what_features_teach() -> None:
    """The same whatever torch has drawn before, and near to what longer learning gives."""
    rows = (features(300, 3, 1, 8) > 0).float()
    x = rows.expand(300, 3, 8, 8).contiguous()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        method = rate(1, prior="context")
        method.begin(x.numpy())
        found.append(method(x, 0.0)[1]["rate"].item())
    assert found[0] == found[1]
    assert 1 / 8 < found[0] < 1 / 8 + 0.1


def test_context_prior_sees_no_further_than_a_decoder() -> None:
    method = rate(1, prior="context")
    x = features(2, 3, 6, 7)
    method.begin(x.numpy())
    context = method.losses["rate"].context
    with torch.no_grad():
        context.weights.normal_()
    centroids = method.quantizer.centroids().detach()
    sent = look_up(nearest(x, centroids), centroids).requires_grad_()
    shares = torch.zeros(2, 3, 6, 7, 2)
    shares[0, 1, 3, 3, 1] = 1  # one symbol of sample 0, channel 1, row 3, column 3
    context(sent, centroids, shares).backward()
    seen = {tuple(place) for place in sent.grad.nonzero().tolist()}
    assert seen
    assert all(
        sample == 0 and (channel, row, column) < (1, 3, 3) for sample, channel, row, column in seen
    )
    assert {channel for _, channel, _, _ in seen} == {0, 1}


def test_assignment_is_nearly_hard_at_centroids() -> None:
    centroids = torch.tensor([[-1.0, 0.0, 1.0, 2.0], [0.0, 10.0, 20.0, 30.0]])
    x = torch.tensor([1.0, 10.0])[None, :, None, None]
    shares = assignment(x, centroids)
    assert shares.shape == (1, 2, 1, 1, 4)
    assert torch.allclose(shares[0, 0, 0, 0], torch.tensor([0, 0, 1.0, 0]), atol=1e-3)
    assert torch.allclose(shares[0, 1, 0, 0], torch.tensor([0, 1.0, 0, 0]), atol=1e-3)
    halfway = assignment(torch.full((1, 2, 1, 1), 5.0), centroids)[0, 1, 0, 0]
    assert halfway[:2].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("bits", [1, 3])
def test_loss_costs_no_distance_to_every_centroid(bits: int) -> None:
    """The bucketised form: no tensor is larger than the feature."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    x = features(4, 3, 8, 8).requires_grad_()
    mu = torch.linspace(-1, 1, 1 << bits)
    with Watch():
        clustering_loss(x, mu, 0.5).backward()
    assert largest == x.numel()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "tcl",
            {
                "quantizer": {"name": "centroids"},
                "losses": [{"name": "clustering", "weight": 1 - 0.9}],
                "task_weight": 0.9,
            },
        ),
        (
            "rate",
            {
                "quantizer": {"name": "centroids", "straight_through": True, "learned": True},
                "losses": [{"name": "rate"}],
            },
        ),
        ("kmeans", {"quantizer": {"name": "kmeans"}}),
    ],
)
def test_methods_are_made_of_parts(name: str, parts: dict[str, Any]) -> None:
    """Stages that are trained with one are found by the other."""
    assert METHODS[name](2).depends() == composed(2, **parts).depends()


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_parts_go_together(straight_through: bool, learned: bool, per_channel: bool) -> None:
    """Any quantiser that has centroids, with both losses: the sum, and gradients where they go."""
    quantizer = {
        "name": "centroids",
        "straight_through": straight_through,
        "learned": learned,
        "per_channel": per_channel,
    }
    losses = [{"name": "clustering", "weight": 0.5}, {"name": "rate", "prior": "context"}]
    method = composed(2, quantizer=quantizer, losses=losses, task_weight=0.75)
    x = features(4, 3, 5, 5)
    method.begin(x.numpy())
    x.requires_grad_()
    sent, terms = method(x, 0.5)
    assert list(terms) == ["clustering", "rate"]
    assert (sent is x) == (not straight_through)
    total = method.total(torch.tensor(2.0), terms)
    assert total.item() == pytest.approx(
        1.5 + 0.5 * terms["clustering"].item() + 0.3 * terms["rate"].item(), rel=1e-6
    )
    total.backward()
    assert x.grad.abs().sum() > 0
    moved = method.quantizer.levels.grad
    assert (moved is not None and bool((moved != 0).any())) == learned
    assert method.quantizer.centroids().shape == ((3, 4) if per_channel else (4,))
    restored = method.wire(x.detach().numpy()).restore(x)
    wanted = look_up(nearest(x, method.quantizer.centroids()), method.quantizer.centroids())
    assert torch.allclose(restored, wanted.detach(), atol=1e-6)
