"""Words in place of tokens as the points that are compared (`points: words`): a word's state is its tokens' mean.

Two models make other tokens of a text, and the same words, so that both sides have as many points.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.losses.representations import Representations, places_of
from kdda.transport.checks import check_mask
from kdda.transport.numerics import at_least_float32, full_precision


def as_words(student: Representations, teacher: Representations) -> tuple[Representations, Representations]:
    """Both sides with the student's `words` as their points.

    Raises:
        ValueError: the student's representations have no words, or a side has no places.
    """
    words = student.words
    if words is None:
        raise ValueError(
            "points: words needs the words of each text: pass Representations(..., words=...) of the student, the "
            "first character of each word and the one after its last."
        )
    return _as_words(student, words, "student"), _as_words(teacher, words, "teacher")


def _as_words(side: Representations, words: Float[Tensor, "batch words 2"], name: str) -> Representations:
    """One side with words as its points, whose places are the words'.

    A word's state is the mean of the states of real tokens that share characters with it, weighted by how many. A word
    that shares none with any, such as one that was truncated, has no mass. Where tokens have masses, each divides its
    own among its words in proportion.

    Args:
        name: of the side, for messages.
    """
    places = places_of(side, name)
    mass = check_mask(side.mask, side.states, name)
    with full_precision(side.states.device):
        states = at_least_float32(side.states).masked_fill(~(mass > 0)[..., None], 0)
        overlap = _overlap(words, places) * (mass > 0)[:, None, :].to(states)
        of_word = overlap.sum(dim=2)
        pooled = torch.bmm(_ratio(overlap, of_word[:, :, None]), states)
        masses = of_word > 0
        if mass.is_floating_point():
            of_token = overlap.sum(dim=1)
            masses = torch.einsum("bwi,bi->bw", _ratio(overlap, of_token[:, None, :]), mass.to(states))
    return replace(side, states=pooled, mask=masses, self_term=None, places=words)


def _overlap(words: Tensor, tokens: Tensor) -> Float[Tensor, "batch words tokens"]:
    """The length that each word and each token of a text have in common."""
    ends = torch.minimum(words[:, :, None, 1], tokens[:, None, :, 1])
    starts = torch.maximum(words[:, :, None, 0], tokens[:, None, :, 0])
    return (ends - starts).clamp(min=0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """`part` divided by `whole`, 0 where that is 0."""
    return part / whole.clamp(min=torch.finfo(whole.dtype).tiny)
