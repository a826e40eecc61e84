"""Adversarial debiasing: a classifier that an adversary cannot read the protected attribute from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from claimed_med.trust.fairness import Array, Mask

_TINY = 1e-12


@dataclass(frozen=True)
class Settings:
    """How it is trained.

    Attributes:
        n_steps: Steps of the classifier, each on all rows.
        learning_rate: Of the classifier.
        adversary_ratio: Learning rate of the adversary over that of the classifier.
        adversary_steps: Steps of the adversary before each step of the classifier.
        weight: How strongly the classifier is pushed to harm the adversary.
        weight_decay: L2 penalty of the classifier.
        seed: Of the initial weights.
    """

    n_steps: int = 300
    learning_rate: float = 0.01
    adversary_ratio: float = 30.0
    adversary_steps: int = 5
    weight: float = 1.0
    weight_decay: float = 0.02
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """A trained classifier; it does not see the protected attribute.

    Attributes:
        network: Features -> logit.
    """

    network: nn.Linear

    def probability(self, features: Array) -> Array:
        """Probability of the favourable outcome, one a row.

        Args:
            features: Shape (n_rows, n_features).
        """
        with torch.no_grad():
            logits = self.network(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64)))
        return np.asarray(torch.sigmoid(logits)[:, 0].numpy(), dtype=np.float64)


def fit(features: Array, truth: Mask, privileged: Mask, settings: Settings) -> Fitted:
    """Train a linear classifier against an adversary that sees only the sigmoid of its logit.

    The classifier's gradient is freed of its part along the adversary's gradient, taken as one vector over all
    weights, and pushed against it. The adversary learns faster and more often, so that it is near its optimum.

    Args:
        features: Shape (n_rows, n_features).
        truth: Favourable outcome of every row.
        privileged: Protected group of every row.
        settings: How it is trained.

    Source:
        Zhang et al. 2018, doi:10.1145/3278721.3278779.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    y, z = (torch.from_numpy(one.astype(np.float64))[:, None] for one in (truth, privileged))
    classifier, adversary = _linear(x.shape[1], generator), _linear(1, generator)
    steps = torch.optim.Adam(classifier.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    replies = torch.optim.Adam(adversary.parameters(), settings.learning_rate * settings.adversary_ratio)
    loss = nn.functional.binary_cross_entropy_with_logits
    for _ in range(settings.n_steps):
        logit = classifier(x)
        seen = torch.sigmoid(logit.detach())
        for _ in range(settings.adversary_steps):
            replies.zero_grad()
            loss(adversary(seen), z).backward()
            replies.step()
        parameters = list(classifier.parameters())
        own = torch.autograd.grad(loss(logit, y), parameters, retain_graph=True)
        against = torch.autograd.grad(loss(adversary(torch.sigmoid(logit)), z), parameters)
        _set_gradient(parameters, _freed(_vector(own), _vector(against), settings.weight))
        steps.step()
    return Fitted(classifier)


def _linear(n_inputs: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_inputs, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(1, n_inputs, generator=generator, dtype=torch.float64) * 0.01)
        layer.bias.zero_()
    return layer


def _vector(gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([one.reshape(-1) for one in gradients])


def _freed(own: torch.Tensor, against: torch.Tensor, weight: float) -> torch.Tensor:
    unit = against / (against.norm() + _TINY)
    return own - (own @ unit) * unit - weight * against


def _set_gradient(parameters: list[nn.Parameter], gradient: torch.Tensor) -> None:
    start = 0
    for one in parameters:
        one.grad = gradient[start : start + one.numel()].reshape(one.shape).clone()
        start += one.numel()
