"""mini/vietnamese: mini/multilingual under a word-level Vietnamese vocabulary.

No Vietnamese weights ship in a package, so the teacher is made: each row of its embedding is the mean of the sub-word
rows that spell the entry (fast vocabulary transfer, Gee et al. 2022, EMNLP Industry, §3). It reads segmented text, in
which ``thủ_đô`` is one token; a word outside the vocabulary falls apart into syllables (``bánh``, ``_tráng``), a
syllable outside it into letters.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from kdda.models.mini.weights import MiniWeights, multilingual

WORDS = Path(__file__).parent / "vietnamese_words.txt"

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

SAME_AS = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}

_VOWELS = "aăâeêioôơuưyàằầèềìòồờùừỳáắấéếíóốớúứýảẳẩẻểỉỏổởủửỷãẵẫẽễĩõỗỡũữỹạặậẹệịọộợụựỵ"

_SYLLABLE = re.compile(
    rf"(?:ngh|ng|nh|ch|gh|gi|kh|ph|qu|th|tr|[bcdđghklmnprstvx])?[{_VOWELS}]{{1,3}}(?:ch|ng|nh|[cmnpt])?", re.IGNORECASE
)


def words() -> list[str]:
    """The words of several syllables that are one token, most frequent first."""
    return WORDS.read_text(encoding="utf-8").split()


def entries(pieces: list[str]) -> list[str]:
    """The vocabulary: specials, words, the syllables among XLM-R's pieces (alone and inside a word), letters."""
    syllables = [p[1:] for p in pieces if p.startswith("▁") and _SYLLABLE.fullmatch(p[1:])]
    syllables += [s.capitalize() for s in syllables if s.islower()]
    inner = [f"_{s}" for s in syllables]
    letters = [p for p in pieces if len(p) == 1 and p != "▁" and ord(p) < 0x2100] + ["_"]
    return list(dict.fromkeys([*SPECIALS, *words(), *syllables, *inner, *letters]))


def word_tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    """Longest entry first, from the left, inside each word of a segmented text."""
    index = {entry: i for i, entry in enumerate(vocabulary)}
    core = Tokenizer(
        models.WordPiece(index, unk_token="[UNK]", continuing_subword_prefix="", max_input_chars_per_word=100)
    )
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\w\p{M}]+|[^\w\s]"), "removed", invert=True)
    core.decoder = decoders.WordPiece(prefix="_")
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", index["[CLS]"]), ("[SEP]", index["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        **{
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        },
    )


def transferred_rows(
    vocabulary: list[str], source: PreTrainedTokenizerFast, rows: Float[Tensor, "pieces width"]
) -> Float[Tensor, "entries width"]:
    """Each entry's row: the mean of the source's rows for the sub-words that spell it (Gee et al. 2022, eq. 1)."""
    special = {entry: [source.convert_tokens_to_ids(token)] for entry, token in SAME_AS.items()}
    spelt = source([entry.replace("_", " ").strip() or "_" for entry in vocabulary], add_special_tokens=False)[
        "input_ids"
    ]
    ids = [
        special.get(entry, spelling) or [source.unk_token_id] for entry, spelling in zip(vocabulary, spelt, strict=True)
    ]
    flat = torch.tensor([i for spelling in ids for i in spelling])
    starts = torch.tensor([0] + [len(spelling) for spelling in ids[:-1]]).cumsum(0)
    return torch.nn.functional.embedding_bag(flat, rows, starts, mode="mean")


@lru_cache(maxsize=1)
def vietnamese() -> MiniWeights:
    """mini/vietnamese with all 12 layers; callers copy, since it is made once a process."""
    source = multilingual()
    pieces = source.tokenizer.convert_ids_to_tokens(range(len(source.tokenizer)))
    vocabulary = entries(pieces)
    name = "embeddings.word_embeddings.weight"
    config = deepcopy(source.config)
    config.vocab_size, config.pad_token_id, config.bos_token_id, config.eos_token_id = len(vocabulary), 0, 2, 3
    config.kdda_segmenter = "vi"
    rows = transferred_rows(vocabulary, source.tokenizer, source.state[name])
    return MiniWeights(config, {**source.state, name: rows}, word_tokenizer(vocabulary))
