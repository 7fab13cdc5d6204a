"""mse-pooled, cosine-pooled and cka: squared distance, cosine and correlation (CKA) of the texts' mean vectors."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    closed_form,
    clouds,
    in_full_precision,
)
from kdda.transport.cost import largest_powers


@in_full_precision
def mse_pooled(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """½‖mean(H) − mean(K)‖² over the scale: also the limit of the Sinkhorn divergence as ε → ∞. Reads `scale`.

    Source: Reimers, Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation",
    EMNLP 2020.
    """
    x, y = _mean_states(student, teacher, settings)
    return closed_form(0.5 * (x - y).square().sum(dim=1))


@in_full_precision
def cosine_pooled(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """1 − cos(mean(H), mean(K)). Reads `scale` only where it changes vectors (`cosine`, `layernorm`).

    Source: the hidden-state loss of Sanh, Debut, Chaumond, Wolf, "DistilBERT", 2019, on pooled states.
    """
    x, y = _mean_states(student, teacher, settings)
    return closed_form(1 - cosine_similarity(x / largest_powers(x), y / largest_powers(y), dim=1))


@in_full_precision
def cka(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """1 − ‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) over a batch's pooled states X, Y, centred: linear CKA between the two models.

    One number for the batch, given to each of its texts. Widths may differ. A batch of one text has nothing to
    compare: 1, with no gradient. Source: Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network
    Representations Revisited", ICML 2019, eq. (4). Reads nothing but named scales that change vectors.
    """
    x, y = _mean_states(student, teacher, settings, equal_widths=False)
    x = x - x.mean(dim=0)
    y = y - y.mean(dim=0)
    x = x / largest_powers(x).amax()  # CKA does not depend on a factor of either side
    y = y / largest_powers(y).amax()
    gram_x, gram_y = x @ x.T, y @ y.T
    norms = gram_x.norm() * gram_y.norm()
    similarity = (gram_x * gram_y).sum() / norms if float(norms.detach()) > 0 else 0 * gram_x.sum()
    return closed_form((1 - similarity).expand(len(x)))


def _mean_states(
    student: Representations, teacher: Representations, settings: ObjectiveSettings, *, equal_widths: bool = True
) -> tuple[Tensor, Tensor]:
    """The mean of each text's real tokens, `[batch, width]` of both sides, in units of the scale."""
    x, y, a, b = clouds(student, teacher, settings.scale, equal_widths=equal_widths, around_teacher_mean=False)
    return torch.einsum("bi,bid->bd", a, x), torch.einsum("bi,bid->bd", b, y)


MSE_POOLED = Objective("mse-pooled", mse_pooled)
COSINE_POOLED = Objective("cosine-pooled", cosine_pooled)
CKA = Objective("cka", cka, equal_widths=False)
