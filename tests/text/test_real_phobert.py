"""PhoBERT's real vocabulary, where it is there: in KDDA_TEST_DATA, or in ../shared/data beside the repository."""

import json
import os
from pathlib import Path

import pytest
from transformers import PhobertTokenizer

from kdda.text.segment import segmented_text
from kdda.text.tokenize import TokenizerAdapter

DATA = Path(os.environ.get("KDDA_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
VOCABULARY = DATA / "phobert"
PASSAGES = (DATA / "xquad" / "xquad.vi.30-articles.json", DATA / "xquad" / "xquad.en.30-articles.json")
FILES = (VOCABULARY / "vocab.txt", VOCABULARY / "bpe.codes", *PASSAGES)


@pytest.mark.skipif(
    not all(path.is_file() for path in FILES),
    reason=f"needs phobert/ and xquad/ (vi and en) in KDDA_TEST_DATA or {DATA}",
)
def test_real_passages_have_transformers_ids_word_by_word_and_slices_rebuild_them() -> None:
    tokenizer = PhobertTokenizer(vocab_file=str(VOCABULARY / "vocab.txt"), merges_file=str(VOCABULARY / "bpe.codes"))
    passages = []
    for file in PASSAGES:
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                passages.append(paragraph["context"])
    assert len(passages) == 300
    for text, tokenized in zip(passages, TokenizerAdapter(tokenizer, "vi").tokenize(passages), strict=True):
        expected = []
        for word in segmented_text(text, "vi").text.split():
            expected += tokenizer(word, add_special_tokens=False)["input_ids"]
        assert tokenized.ids.tolist() == expected
        rebuilt = "".join(text[a:b] for a, b in zip(tokenized.starts, tokenized.ends, strict=True))
        assert "".join(rebuilt.split()) == "".join(text.split())
