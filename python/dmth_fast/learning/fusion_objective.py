"""What the fused teacher is trained for: classes, hash layer and attention, on cached features."""

from torch import Tensor, nn

from dmth_fast.learning.config import FusionConfig
from dmth_fast.learning.features import Columns
from dmth_fast.learning.fusion import FusedNetwork, entropy
from dmth_fast.learning.losses import HashLoss, quantization_term
from dmth_fast.learning.parallel import gather_rows

__all__ = ["FusionBatches", "FusionObjective"]


class FusionObjective(nn.Module):
    """``CE(o, y) + eta L_hash(h, y) + lambda quant(h) - rho H(a)``, and the cross-entropy of each probe."""

    def __init__(self, network: FusedNetwork, hash_loss: HashLoss, config: FusionConfig) -> None:
        super().__init__()
        self.network, self.hash_loss, self._config = network, hash_loss, config

    def forward(self, features: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of each teacher's features (b, d_k) and the labels (b,)."""
        config, cross_entropy = self._config, nn.functional.cross_entropy
        _, h, logits, weights = (gather_rows(rows) for rows in self.network(features))
        labels = gather_rows(labels)
        terms = {"classifier": cross_entropy(logits, labels), "hash": self.hash_loss(h, labels)}
        terms["entropy"] = entropy(weights)
        loss = (
            terms["classifier"] + config.hash_weight * terms["hash"] - config.entropy_bonus * terms["entropy"]
        )
        if config.loss.quantization:
            terms["quantization"] = quantization_term(config.loss, h)
            loss = loss + config.loss.quantization * terms["quantization"]
        standardized = self.network.standardize(features)
        for k, probe in self.network.probes.items():
            loss = loss + cross_entropy(gather_rows(probe(standardized[int(k)])), labels)
        return {"loss": loss, **terms}

    def on_step(self, step: int) -> None:
        """Tell the hash loss how many steps are done."""
        self.hash_loss.on_step(step)


class FusionBatches:
    """Cached features of view e mod V with the labels."""

    def __init__(self, views: list[list[Columns]], labels: Tensor) -> None:
        self._views, self._labels = views, labels

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, index: Tensor, epoch: int) -> tuple[list[Tensor], Tensor]:
        """Return each teacher's float32 features and the labels."""
        columns = self._views[epoch % len(self._views)]
        return [column["features"][index].float() for column in columns], self._labels[index]
