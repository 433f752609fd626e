"""What cross-modal towers are trained for: the similarity of features, or that of a teacher's codes."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dmth_fast.learning.config import TrainingConfig, above, at_least, one_of
from dmth_fast.learning.heads import HashHead
from dmth_fast.learning.losses.alignment import (
    bit_balance,
    dsah_terms,
    hard_pairs,
    joint_quantization,
    joint_semantics,
    soft_pairs,
)
from dmth_fast.learning.losses.greedy import straight_through_sign
from dmth_fast.learning.pairs import Pairs
from dmth_fast.learning.similarity import SIMILARITIES, cosine_matrix, nearest_mask

SCALINGS = ("scalar", "columns")
GRADIENTS = ("straight-through", "published")
TARGETS = ("hard", "soft")
"""What a student takes from its teacher."""


@dataclass(frozen=True, kw_only=True)
class CrossModalConfig:
    """Everything that shapes a cross-modal hasher.

    Attributes:
        hidden: width of the hidden layer of each tower.
        scaling: of its inputs, after centring: ``scalar`` (one factor keeps rare words quiet) or ``columns``.
        image_weight: share of the image features in the fused similarity (a of DSAH, beta of DJSRH).
        scale: factor of the fused similarity (k, mu).
        intra: weight of the similarities within a modality (eta of DSAH, lambda of DJSRH and JDSH).
        reconstruction: weight of the decoders of DSAH; 0 leaves them out.
        gradient: what the decoders send back through the sign of the codes: ``straight-through``, or nothing
            as ``published``.
        neighbours: n, how many of a pair's nearest are similar to it for a hard student.
        sharpness: of the hard student's likelihood; ``bits / 2`` is that of UKD.
        quantization: lambda of the student.
        balance: nu of the student.
        training: of either.
    """

    hidden: int = 256
    scaling: str = "scalar"
    image_weight: float = 0.9
    scale: float = 1.5
    intra: float = 0.1
    reconstruction: float = 1.0
    gradient: str = "straight-through"
    neighbours: int = 45
    sharpness: float = 8.0
    quantization: float = 0.1
    balance: float = 0.1
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=30, batch_size=128, optimizer="adamw", lr=1e-3, warmup=0.0, device="cpu"
        )
    )

    def __post_init__(self) -> None:
        at_least("hidden", self.hidden, 1)
        above("scale", self.scale, 0)
        above("sharpness", self.sharpness, 0)
        at_least("neighbours", self.neighbours, 1)
        for name in ("image_weight", "intra", "reconstruction", "quantization", "balance"):
            at_least(name, getattr(self, name), 0)
        one_of("gradient", self.gradient, GRADIENTS)
        one_of("scaling", self.scaling, SCALINGS)


class Tower(nn.Module):
    """Features (b, d) to code values (b, bits): centre, scale, one hidden layer, the hash head."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, hidden: int, bits: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.hidden = nn.Linear(dim, hidden)
        self.head = HashHead(hidden, bits)

    def set_statistics(self, features: Tensor, scaling: str = "scalar") -> None:
        """Take mean and root mean square deviation, of all columns or of each, from features (n, d)."""
        self.mean.copy_(features.mean(0))
        squares = (features - self.mean).square()
        variance = squares.mean() if scaling == "scalar" else squares.mean(0)
        self.scale.copy_(variance.sqrt().clamp_min(1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Return code values (b, bits)."""
        values: Tensor = self.head(torch.relu(self.hidden((features - self.mean) / self.scale)))
        return values


class AlignmentObjective(nn.Module):
    """DSAH, DJSRH or JDSH on features of a batch; ``u = tanh(alpha h)``, ``alpha = sqrt(epoch + 1)``."""

    def __init__(self, image_tower: Tower, text_tower: Tower, recipe: str, config: CrossModalConfig) -> None:
        super().__init__()
        self.image_tower, self.text_tower = image_tower, text_tower
        self.recipe, self.config = recipe, config
        bits = image_tower.head.linear.out_features
        dims = image_tower.hidden.in_features, text_tower.hidden.in_features
        # Each decoder rebuilds the features of the other modality; only training needs them.
        decodes = recipe == "dsah" and config.reconstruction > 0
        self.to_text = nn.Linear(bits, dims[1]) if decodes else None
        self.to_image = nn.Linear(bits, dims[0]) if decodes else None

    def forward(self, image: Tensor, text: Tensor, index: Tensor, epoch: Tensor) -> dict[str, Tensor]:
        """Return the terms of image features (b, d_i) and text features (b, d_t)."""
        del index
        config, alpha = self.config, math.sqrt(int(epoch) + 1)
        u, v = torch.tanh(alpha * self.image_tower(image)), torch.tanh(alpha * self.text_tower(text))
        settings = {} if self.recipe == "jdsh" else {"image_weight": config.image_weight}
        fused = SIMILARITIES[self.recipe](image, text, scale=config.scale, **settings)
        if self.recipe == "dsah":
            own = (2 * cosine_matrix(side, side) - 1 for side in (image, text))
            terms = dsah_terms(u, v, fused, *own, scale=config.scale, intra=config.intra)
            terms |= self._reconstruction(u, v, image, text)
        else:
            terms = joint_semantics(u, v, fused, intra=config.intra, pair=float(self.recipe == "jdsh"))
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _reconstruction(self, u: Tensor, v: Tensor, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        if self.to_text is None or self.to_image is None:
            return {}
        through = self.config.gradient == "straight-through"
        codes = [straight_through_sign(side) for side in (u, v)]
        if not through:
            codes = [code.detach() for code in codes]
        # Features in units of their own spread, so that one weight serves every data set.
        wanted = [(text - self.text_tower.mean) / self.text_tower.scale]
        wanted.append((image - self.image_tower.mean) / self.image_tower.scale)
        errors = [self.to_text(codes[0]) - wanted[0], self.to_image(codes[1]) - wanted[1]]
        total = errors[0].square().mean() + errors[1].square().mean()
        return {"reconstruction": self.config.reconstruction * total}


class PairStudentObjective(nn.Module):
    """A student on the similarity of its teacher's codes: ``hard`` its n nearest, ``soft`` its cosines."""

    codes: Tensor

    def __init__(
        self,
        image_tower: Tower,
        text_tower: Tower,
        codes: Tensor,
        target: str,
        config: CrossModalConfig,
    ) -> None:
        super().__init__()
        self.image_tower, self.text_tower, self.config = image_tower, text_tower, config
        self.register_buffer("codes", codes, persistent=False)
        nearest = nearest_mask(codes, config.neighbours) if target == "hard" else None
        self.register_buffer("nearest", nearest, persistent=False)

    def forward(self, image: Tensor, text: Tensor, index: Tensor, epoch: Tensor) -> dict[str, Tensor]:
        """Return the terms of image features (b, d_i) and text features (b, d_t), rows ``index``."""
        del epoch
        u, v = torch.tanh(self.image_tower(image)), torch.tanh(self.text_tower(text))
        if isinstance(self.nearest, Tensor):
            near = self.nearest[index][:, index].to(u.dtype)
            pairs = hard_pairs(u, v, near, sharpness=self.config.sharpness)
        else:
            pairs = soft_pairs(u, v, cosine_matrix(self.codes[index], self.codes[index]))
        terms = {
            "pairs": pairs,
            "quantization": self.config.quantization * joint_quantization(u, v),
            "balance": self.config.balance * (bit_balance(u) + bit_balance(v)),
        }
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


class PairBatches:
    """Image and text features of the chosen pairs, with their positions and the epoch."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def batch(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image features, text features, positions and the epoch."""
        return self._pairs.image[index], self._pairs.text[index], index, torch.tensor(epoch)
