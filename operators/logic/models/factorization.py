"""River's factorisation machine, made fast enough for a stream."""

from collections.abc import Hashable, Mapping

import numpy as np
from river import facto


class FactorizationMachine(facto.FMClassifier):
    """River's factorisation machine, its latent vectors handled whole and in linear time.

    Rendle (2010), lemma 3.1: Σ_{i<j} ⟨v_i, v_j⟩ x_i x_j = (|Σ v_i x_i|² − Σ |v_i|² x_i²) / 2.
    """

    def _calculate_interactions(self, x: Mapping[Hashable, float]) -> float:
        scaled = np.array([self.latents[j] * xj for j, xj in x.items()])
        total = scaled.sum(axis=0)
        return float(total @ total - (scaled * scaled).sum()) / 2.0

    def _update_latents(self, x: Mapping[Hashable, float], g_loss: float) -> None:
        v, l2 = self.latents, self.l2_latent
        total = np.sum([v[j] * xj for j, xj in x.items()], axis=0)
        for j, xj in x.items():
            gradient = g_loss * xj * (total - v[j] * xj) + l2 * v[j]
            v[j] = self.latent_optimizer.step(v[j], gradient)
