"""No slice ends inside a letter, whatever the script, the normal form and the tokenizer; wrong offsets are mended."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PhobertTokenizer, PreTrainedTokenizerFast

from kdda.errors import KddaError
from kdda.text.encode import Encoder
from kdda.text.letters import compose, letter_bounds
from kdda.text.phobert import LONG_WORD, PhobertPieces
from kdda.text.segment import segment, segmented_text
from kdda.text.sentences import sentences
from kdda.text.tokenize import TokenizedText, TokenizerAdapter
from tests.text.phobert import make_phobert_tokenizer

TEXTS = {
    "Vietnamese": "Sông Hương chảy qua thành phố Huế, còn Hà Nội ở bên sông Hồng.",
    "Dutch": "Utrecht ligt in het midden van Nederland, bij café Zoë.",
    "Hindi": "दिल्ली भारत की राजधानी है, हिन्दी क्षेत्र",
    "Arabic": "القَاهِرَةُ عَاصِمَةُ مِصْرَ",
    "Thai": "น้ำใจ กำลังดี",
    "Korean": "서울은 한강 옆에 있다",
    "Turkish": "İzmir güzel bir şehirdir, Iğdır da",
    "Burmese": "မြန်မာ ရန်ကုန်",
    "emoji": "nhà 👨‍👩‍👧 vui 👍🏽 quá 🇻🇳",
    "compatibility": "½ ﬁn ﷺ № ｱﾊﾟ",
}
FORMS = ("NFC", "NFD", "NFKC", "NFKD")
CORPUS = [unicodedata.normalize(form, text) for text in TEXTS.values() for form in FORMS]


def fast(core: Tokenizer, **specials: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", **specials)


def byte_level(
    before: list[Any], prefix: bool, trimmed: bool = True, size: int = 400, corpus: Sequence[str] = CORPUS
) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=prefix)])
    core.decoder = decoders.ByteLevel()
    if trimmed:
        core.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=["[PAD]"], show_progress=False
    )
    core.train_from_iterator(corpus, trainer)
    return fast(core)


def word_piece(normalizer: Any) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizer
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return fast(core, unk_token="[UNK]")


def unigram(normalizer: Any) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.Unigram())
    if normalizer is not None:
        core.normalizer = normalizer
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["[PAD]", "<unk>"], unk_token="<unk>", show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    return fast(core, unk_token="<unk>")


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": lambda: byte_level([], prefix=False),
    "byte-level with a space before": lambda: byte_level([], prefix=True, trimmed=False),
    "byte-level behind words": lambda: byte_level([pre_tokenizers.Whitespace()], prefix=True),
    "byte-level behind BERT's words": lambda: byte_level([pre_tokenizers.BertPreTokenizer()], prefix=True, size=280),
    "WordPiece": lambda: word_piece(normalizers.BertNormalizer(lowercase=False, strip_accents=False)),
    "WordPiece without accents": lambda: word_piece(normalizers.BertNormalizer(lowercase=True)),
    "Unigram": lambda: unigram(None),
    "Unigram in NFKC": lambda: unigram(normalizers.NFKC()),
    "Unigram in NFD": lambda: unigram(normalizers.NFD()),
}


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]()


def slices(tokenized: TokenizedText) -> list[str]:
    return [tokenized.text[a:b] for a, b in zip(tokenized.starts, tokenized.ends, strict=True)]


def check_letters(tokenized: TokenizedText) -> None:
    """Spans are in order, and divide no letter."""
    assert (tokenized.starts[1:] >= tokenized.starts[:-1]).all()
    assert (tokenized.starts <= tokenized.ends).all()
    bounds = letter_bounds(tokenized.text)
    if bounds is not None:
        begins, ends = bounds
        assert (begins[tokenized.starts] == tokenized.starts).all()
        assert (ends[tokenized.ends] == tokenized.ends).all()


def test_every_word_can_be_answered_in_every_normal_form(tokenizer: PreTrainedTokenizerFast) -> None:
    adapter = TokenizerAdapter(tokenizer, "none")
    for text, tokenized in zip(CORPUS, adapter.tokenize(CORPUS), strict=True):
        check_letters(tokenized)
        for match in re.finditer(r"[^\s,.]+", text):
            first, stop = tokenized.within(*match.span())
            assert text[tokenized.starts[first] : tokenized.ends[stop - 1]] == match[0]


def test_tokens_of_odd_texts_divide_no_letter(tokenizer: PreTrainedTokenizerFast) -> None:
    odd = ["\u0301x  \u0301", "b\u0301\u200d", "\u200cक\u094d\x00.", "▁Ġ ▁", "\ufeffa\u00adb", "", " \t", "각 \u1112"]
    for tokenized in TokenizerAdapter(tokenizer, "none").tokenize(odd):
        check_letters(tokenized)


def test_offsets_that_are_shifted_are_mended() -> None:
    text = "Utrecht ligt hier"
    tokenizer = byte_level([pre_tokenizers.Whitespace()], prefix=True, size=264, corpus=["ligt lang hier hem"] * 9)
    given = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    (tokenized,) = TokenizerAdapter(tokenizer, "none").tokenize([text])
    assert "".join(text[a:b] for a, b in given) != "Utrechtligthier"
    assert "".join(slices(tokenized)) == "Utrechtligthier"


def test_texts_that_are_tokenized_together_have_the_tokens_that_each_has_alone() -> None:
    texts = ["Utrecht ligt hier", "", " ", "hier\u200b ligt Utrecht ", "ligt", "\u0301 hem", "hier hier hier lang"]
    pre_tokenizer = [pre_tokenizers.Whitespace()]  # with which offsets are shifted in some of the texts
    tokenizer = byte_level(pre_tokenizer, prefix=True, size=264, corpus=["ligt lang hier hem"] * 9)
    adapter = TokenizerAdapter(tokenizer, "none")
    for text, together in zip(texts, adapter.tokenize(texts), strict=True):
        (alone,) = adapter.tokenize([text])
        for of_one, of_all in zip(
            (alone.ids, alone.starts, alone.ends), (together.ids, together.starts, together.ends), strict=True
        ):
            assert of_one.tolist() == of_all.tolist()


def test_a_tokenizer_whose_tokens_do_not_spell_the_text_is_refused() -> None:
    core = Tokenizer(models.WordLevel({"[PAD]": 0, "zebra": 1, "quagga": 2}, unk_token="[PAD]"))
    core.normalizer = normalizers.Sequence([normalizers.Replace("cat", "quagga"), normalizers.Replace("dog", "zebra")])
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(KddaError, match="wrong offsets"):
        TokenizerAdapter(fast(core), "none").tokenize(["cat dog cat dog"])


def test_the_special_tokens_of_a_vocabulary_without_latin_letters_are_known() -> None:
    core = Tokenizer(models.BPE({"[PAD]": 0, "<s>": 1, "</s>": 2, "ភ": 3, "ក": 4}, []))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = fast(core, bos_token="<s>", eos_token="</s>")
    (window,) = Encoder(tokenizer).encode(["ភ"], ["ក"])
    assert window.ids == [1, 3, 2, 4, 2]
    assert TokenizerAdapter(tokenizer, "none").template(1).specials == ((1,), (2,))


def test_segmented_texts_are_read_in_one_normal_form() -> None:
    composed = "Hà Nội là thủ đô của Việt Nam."
    for form in FORMS:
        text = unicodedata.normalize(form, composed)
        assert segmented_text(text, "vi").text == segmented_text(composed, "vi").text
        words = [unicodedata.normalize("NFC", text[a:b]) for a, b in segment(text, "vi")]
        assert words == ["Hà Nội", "là", "thủ đô", "của", "Việt Nam", "."]
        twice = f"{text} {text}"
        assert [twice[a:b] for a, b in sentences(twice, "vi")] == [text, text]


@pytest.mark.parametrize("segmenter", ["vi", "none"])
def test_phobert_reads_decomposed_texts_as_composed_ones(tmp_path: Path, segmenter: str) -> None:
    composed = "Hà Nội là thủ đô của Việt Nam."
    tokenizer = make_phobert_tokenizer(tmp_path, ["Hà_Nội là thủ_đô của Việt_Nam .", "Hà Nội của Nam."])
    adapter = TokenizerAdapter(tokenizer, segmenter)
    (expected,) = adapter.tokenize([composed])
    text = unicodedata.normalize("NFD", composed)
    (tokenized,) = adapter.tokenize([text])
    assert tokenized.ids.tolist() == expected.ids.tolist()
    assert [unicodedata.normalize("NFC", piece) for piece in slices(tokenized)] == slices(expected)
    check_letters(tokenized)


def test_long_words_have_the_pieces_of_phoberts_tokenizer(tmp_path: Path) -> None:
    tokenizer: PhobertTokenizer = make_phobert_tokenizer(tmp_path, ["thủ_đô thủ_đô Hà_Nội aaaa anan nana"])
    pieces = PhobertPieces(tokenizer)
    for word in ("thủ_đôHà_Nội" * 9, "a" * (LONG_WORD + 1), "anna" * 20 + "n", "xyz" * 30):
        ids, lengths = pieces.pieces(word)
        assert ids == tokenizer.convert_tokens_to_ids(tokenizer.bpe(word).split(" "))
        assert sum(lengths) == len(word)


@pytest.mark.parametrize("unit", [".a", "(", "à", "a'", "http://!!!!!!!", "x@y.", "đ.1/", "http://" + "!" * 60])
def test_texts_without_spaces_are_segmented_by_the_piece(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece is longer than 400 characters, nor holds what a URL's expression takes exponential time on."""
    lengths = []

    def segmenter(text: str) -> list[str]:
        lengths.append(len(text))
        assert not re.search(r"[:/].*[!(.]{8}", text)
        return text.split()

    monkeypatch.setitem(__import__("kdda.text.segmenters").text.segmenters.SEGMENTERS, "spy", segmenter)
    text = "Một câu. " + unit * (25_000 // len(unit)) + " Hai câu."
    words = segment(text, "spy")
    assert max(lengths) <= 400
    assert "".join(text[a:b] for a, b in words) == "".join(text.split())


def test_a_text_that_no_form_changes_is_mapped_to_itself() -> None:
    composed = compose("Huế x\u030c")
    assert composed.starts.tolist() == composed.ends.tolist() == list(range(7))
