"""The feed-forward layer, where most parameters sit: dense, gated, or a mixture of experts.

Sources: Vaswani et al. 2017; Shazeer 2020 (gated units); Shazeer et al. 2017 and Jiang et al. 2024
(mixture of experts); Fedus et al. 2021, equation 4 (load-balancing loss); Dai et al. 2024 (the
expert that all tokens share).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.model import fused
from tokkit.model.config import ModelConfig
from tokkit.model.layers import Linear, Tap


def activate(x: Tensor, kind: str) -> Tensor:
    """The nonlinearity of a kind of feed-forward layer; of its gate where it has one."""
    if kind == "swiglu":
        return functional.silu(x)
    if kind == "relu":
        return functional.relu(x)
    return fused.gelu(x)


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity between; a gated kind multiplies the hidden by it."""

    def __init__(self, config: ModelConfig, hidden_width: int = 0) -> None:
        super().__init__()
        self.kind = config.feedforward
        width, hidden = config.width, hidden_width or config.hidden_width
        bias = config.linear_bias
        self.gate = Linear(width, hidden, bias=bias) if config.gated else None
        self.up = Linear(width, hidden, bias=bias)
        self.down = Linear(hidden, width, bias=bias)
        self.tap_gate = Tap() if config.gated else None
        self.tap_up, self.tap_hidden = Tap(), Tap()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), each position alone."""
        if self.gate is not None and self.tap_gate is not None:
            hidden = activate(self.tap_gate(self.gate(x)), self.kind) * self.tap_up(self.up(x))
        else:
            hidden = activate(self.tap_up(self.up(x)), self.kind)
        output: Tensor = self.down(self.tap_hidden(hidden))
        return output


class ExpertLinear(nn.Module):
    """The weights of one linear map in every expert, (E, out, in)."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))


class Mixture(nn.Module):
    """E gated feed-forward layers, of which a router picks a few for each token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        experts, width, hidden = config.experts, config.width, config.expert_width
        self.router = Linear(width, experts, bias=False)
        self.gate = ExpertLinear(experts, width, hidden)
        self.up = ExpertLinear(experts, width, hidden)
        self.down = ExpertLinear(experts, hidden, width)
        self.shared: FeedForward | None = None
        self.shared_gate: Linear | None = None
        if config.shared_expert_width:
            self.shared = FeedForward(config, config.shared_expert_width)
            self.shared_gate = Linear(width, 1, bias=False)
        self.tap_router = Tap()
        self.balance: Tensor | None = None  # of the last pass, where it is trained on

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), each position alone."""
        flat = x.reshape(-1, x.shape[-1])
        shares: Tensor = self.tap_router(self.router(flat).float().softmax(-1))  # N E
        weights, chosen = shares.topk(self.config.experts_per_token, dim=-1)
        if self.config.routing_normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        if self.training and self.config.balance_weight:
            self.balance = self._balance(shares, chosen)
        mixed = (self._experts(flat, chosen) * weights[..., None].to(x.dtype)).sum(1)
        if self.shared is not None and self.shared_gate is not None:
            mixed = mixed + self.shared_gate(flat).sigmoid() * self.shared(flat)
        return mixed.view(x.shape)

    def _experts(self, flat: Tensor, chosen: Tensor) -> Tensor:
        """What each chosen expert makes of each token: (N, D), (N, k) -> (N, k, D).

        Tokens are sorted by expert, so that each expert multiplies its own in one go.
        """
        per_token = chosen.shape[1]
        order = chosen.flatten().argsort(stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=self.config.experts).tolist()
        parts = torch.split(flat[order // per_token], counts)
        made = [self._expert(e, part) for e, part in enumerate(parts) if len(part)]
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return torch.cat(made)[back].view(len(flat), per_token, -1)

    def _expert(self, expert: int, x: Tensor) -> Tensor:
        gate = functional.linear(x, self.gate.weight[expert])
        hidden = activate(gate, self.config.feedforward) * functional.linear(
            x, self.up.weight[expert]
        )
        return functional.linear(hidden, self.down.weight[expert])

    def _balance(self, shares: Tensor, chosen: Tensor) -> Tensor:
        """E times the sum over experts of (choices a token) x (mean share): least when even."""
        experts = self.config.experts
        choices = torch.bincount(chosen.flatten(), minlength=experts) / len(shares)
        return experts * (choices * shares.mean(0)).sum()
