"""Nearest centroids, as training needs them: with gradients.

Centroids are ascending: [k], or [c, k] for a codebook per channel of features [n, c, h, w].
"""

from __future__ import annotations

import torch
from torch import Tensor


def per_element(centroids: Tensor) -> Tensor:
    """What broadcasts with features [n, c, h, w, 1]: [k] as it is, [c, k] as [c, 1, 1, k]."""
    return centroids if centroids.dim() == 1 else centroids[:, None, None]


def nearest(feature: Tensor, centroids: Tensor) -> Tensor:
    """Index of the nearest centroid of each element: int64, of the feature's shape.

    No gradient.  Elements in the middle may go either way here; the codec's core says which way.
    """
    with torch.no_grad():
        middles = (centroids[..., 1:] + centroids[..., :-1]) / 2
        if centroids.dim() == 1:
            return torch.bucketize(feature.contiguous(), middles)
        by_channel = feature.transpose(0, 1).flatten(1).contiguous()
        found = torch.searchsorted(middles.contiguous(), by_channel)
        return found.view(feature.shape[1], feature.shape[0], *feature.shape[2:]).transpose(0, 1)


def look_up(indices: Tensor, centroids: Tensor) -> Tensor:
    """The centroids of indices [n, c, h, w], with gradients to `centroids`."""
    if centroids.dim() == 1:
        return centroids[indices]
    channel = torch.arange(len(centroids), device=indices.device)[:, None, None]
    return centroids[channel, indices]


def gap(centroids: Tensor) -> Tensor:
    """The mean distance of neighbouring centroids: a scalar, or [c, 1, 1]."""
    table = per_element(centroids)
    return (table[..., -1] - table[..., 0]) / (table.shape[-1] - 1)


def straight_through(feature: Tensor, indices: Tensor, centroids: Tensor) -> Tensor:
    """The centroids of indices, with gradients to them and, as far as it may move, the feature.

    It may not where it is further than half a gap outside: it would drift away for ever, since the
    server cannot tell.
    """
    with torch.no_grad():
        table, reach = per_element(centroids), gap(centroids) / 2
        inside = (feature > table[..., 0] - reach) & (feature < table[..., -1] + reach)
    # x - x is exactly 0, and leaves its gradient
    return look_up(indices, centroids) + inside * (feature - feature.detach())


def assignment(feature: Tensor, centroids: Tensor) -> Tensor:
    """How far each element [n, c, h, w] belongs to each centroid: [n, c, h, w, k], sums of 1."""
    width = gap(centroids).detach()[..., None]
    distance = (feature[..., None] - per_element(centroids)) / width
    return torch.softmax(-(distance**2) / _SOFTNESS, -1)


# Of an assignment to centroids, in squared gaps: halfway to the next one, it is 1/2.
_SOFTNESS = 0.1
