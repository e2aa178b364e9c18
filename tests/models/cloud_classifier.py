"""A classifier that is trained in a second: three layers tell ten clouds of points apart."""

from __future__ import annotations

import torch
from torch import nn

from pysplitcodec.plan.classifier import Classifier


def cloud_classifier() -> Classifier:
    """1,200 points in 20 dimensions."""
    torch.manual_seed(0)
    centres = torch.randn(10, 20)
    targets = torch.arange(1200) % 10
    inputs = centres[targets] + 0.9 * torch.randn(1200, 20)
    model = nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(100):
        loss = nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Classifier(model, inputs, targets)
