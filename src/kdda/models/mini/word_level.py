"""mini/vietnamese and mini/indonesian: mini/multilingual under a word-level vocabulary of one language.

No package ships weights of these languages alone, so the models are derived: each row of the embedding is the mean of
the rows of the sub-words that spell the entry (fast vocabulary transfer, Gee et al. 2022, EMNLP Industry, §3).

mini/vietnamese reads segmented text, in which ``thủ_đô`` is one token; a word outside the vocabulary is split into
syllables (``bánh``, ``_tráng``), a syllable outside it into letters. mini/indonesian reads words between spaces; a word
outside its vocabulary is split into the longest entries from its start (``Gadjah``: ``Gad``, ``jah``).
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from jaxtyping import Float
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from kdda.models.mini.multilingual import multilingual
from kdda.models.mini.weights import MiniWeights

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Special tokens that stand for the same as those of mini/multilingual.
SAME_AS = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}

FIRST_SYMBOL = 0x2100  # where Unicode's letterlike symbols begin

_VOWELS = "aăâeêioôơuưyàằầèềìòồờùừỳáắấéếíóốớúứýảẳẩẻểỉỏổởủửỷãẵẫẽễĩõỗỡũữỹạặậẹệịọộợụựỵ"

_VIETNAMESE_SYLLABLE = re.compile(
    rf"(?:ngh|ng|nh|ch|gh|gi|kh|ph|qu|th|tr|[bcdđghklmnprstvx])?[{_VOWELS}]{{1,3}}(?:ch|ng|nh|[cmnpt])?", re.IGNORECASE
)

# Also most prefixes and suffixes: me, mem, ber, di, kan, nya.
_INDONESIAN_SYLLABLE = re.compile(
    r"(?:ng|ny|sy|kh|[bcdfghjklmnpqrstvwxyz])?(?:ai|au|oi|[aeiou])(?:ng|[bcdfghklmnprst])?", re.IGNORECASE
)


@dataclass(frozen=True)
class WordLevelLanguage:
    """A language that has a mini model with a word-level vocabulary.

    Attributes:
        words_file: its words, one a line, most frequent first (`tools/mini_words.py`).
        syllable: what words outside the vocabulary are split into.
        segmenter: of the text that the model reads. Segmented words hold underscores; others are words between spaces,
            which may begin a sentence.
    """

    words_file: Path
    syllable: re.Pattern[str]
    segmenter: str

    @property
    def is_segmented(self) -> bool:
        """Whether words are joined of syllables by underscores."""
        return self.segmenter != "none"

    def words(self) -> list[str]:
        """The words that are one token, most frequent first."""
        return self.words_file.read_text(encoding="utf-8").split()


VIETNAMESE = WordLevelLanguage(Path(__file__).parent / "vietnamese_words.txt", _VIETNAMESE_SYLLABLE, "vi")

INDONESIAN = WordLevelLanguage(Path(__file__).parent / "indonesian_words.txt", _INDONESIAN_SYLLABLE, "none")


def vocabulary_of(pieces: list[str], language: WordLevelLanguage) -> list[str]:
    """The vocabulary, each entry once: specials, words, syllables (alone and inside a segmented word), letters.

    Args:
        pieces: XLM-R's, from which the syllables and letters are taken.
    """
    words = language.words()
    syllables = _syllables(pieces, language.syllable)
    if language.is_segmented:
        inside_words = [f"_{syllable}" for syllable in syllables]
        letters = [*_letters(pieces), "_"]
    else:
        words += [word.capitalize() for word in words]
        inside_words = []
        letters = _letters(pieces)
    return list(dict.fromkeys([*SPECIALS, *words, *syllables, *inside_words, *letters]))


def _syllables(pieces: list[str], pattern: re.Pattern[str]) -> list[str]:
    """The syllables among the pieces that begin a word, and those in lower case capitalized, too."""
    syllables, capitalized = [], []
    for piece in pieces:
        syllable = piece[1:]
        if not (piece.startswith("▁") and pattern.fullmatch(syllable)):
            continue
        syllables.append(syllable)
        if syllable.islower():
            capitalized.append(syllable.capitalize())
    return syllables + capitalized


def _letters(pieces: list[str]) -> list[str]:
    """Single characters, up to the letterlike symbols."""
    letters = []
    for piece in pieces:
        if len(piece) == 1 and piece != "▁" and ord(piece) < FIRST_SYMBOL:
            letters.append(piece)
    return letters


def word_tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that splits each word of a text into entries, the longest match at its start first.

    Args:
        vocabulary: entries in the order of their ids.
    """
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
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def transferred_rows(
    vocabulary: list[str], source: PreTrainedTokenizerFast, rows: Float[Tensor, "pieces width"]
) -> Float[Tensor, "entries width"]:
    """Each entry's row: the mean of the source's rows for the sub-words that spell it (Gee et al. 2022, eq. 1)."""
    spellings = _spellings(vocabulary, source)
    flat = torch.tensor(list(chain.from_iterable(spellings)))
    starts = torch.tensor([0, *map(len, spellings[:-1])]).cumsum(0)
    return torch.nn.functional.embedding_bag(flat, rows, starts, mode="mean")


def _spellings(vocabulary: list[str], source: PreTrainedTokenizerFast) -> list[list[int]]:
    """For each entry the ids of the source's sub-words that spell it, at least the one for unknown text."""
    texts = [_plain_text(entry) for entry in vocabulary]
    tokenized = source(texts, add_special_tokens=False)["input_ids"]
    spellings = []
    for entry, ids in zip(vocabulary, tokenized, strict=True):
        if entry in SAME_AS:
            spellings.append([source.convert_tokens_to_ids(SAME_AS[entry])])
        else:
            spellings.append(ids or [source.unk_token_id])
    return spellings


def _plain_text(entry: str) -> str:
    """An entry as it stands in text that is not segmented; the underscore itself stays."""
    return entry.replace("_", " ").strip() or "_"


@lru_cache(maxsize=1)
def vietnamese() -> MiniWeights:
    """mini/vietnamese with all 12 layers, built once a process; callers copy the weights before they change them."""
    return _word_level_model(VIETNAMESE)


@lru_cache(maxsize=1)
def indonesian() -> MiniWeights:
    """mini/indonesian, made and shared as mini/vietnamese is."""
    return _word_level_model(INDONESIAN)


def _word_level_model(language: WordLevelLanguage) -> MiniWeights:
    """mini/multilingual with the vocabulary of one language in place of its sub-words."""
    source = multilingual()
    pieces = source.tokenizer.convert_ids_to_tokens(range(len(source.tokenizer)))
    vocabulary = vocabulary_of(pieces, language)
    config = deepcopy(source.config)
    config.vocab_size = len(vocabulary)
    config.pad_token_id = SPECIALS.index("[PAD]")
    config.bos_token_id = SPECIALS.index("[CLS]")
    config.eos_token_id = SPECIALS.index("[SEP]")
    config.kdda_segmenter = language.segmenter
    rows = transferred_rows(vocabulary, source.tokenizer, source.state[WORD_EMBEDDINGS])
    return MiniWeights(config, {**source.state, WORD_EMBEDDINGS: rows}, word_tokenizer(vocabulary))
