"""Write the word lists of mini/vietnamese and mini/indonesian: words that the embedded inference corpora hold twice.

Vietnamese words are those of several syllables. The Indonesian list also keeps words that it has and the corpus lacks:
common ones, which were written by hand. Run after a corpus changes: python tools/mini_words.py
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from kdda.data.sources import EMBEDDED_CORPORA
from kdda.models.mini.word_level import INDONESIAN, VIETNAMESE, WordLevelLanguage
from kdda.text.segment import segmented_text

WORD = re.compile(r"\b[a-z]{2,}\b")  # in lower case: a capital inside a sentence begins a name


def main() -> None:
    vietnamese: Counter[str] = Counter()
    for text in texts("vi"):
        vietnamese.update(word for word in segmented_text(text, "vi").text.split() if "_" in word)
    write(VIETNAMESE, frequent(vietnamese))
    indonesian: Counter[str] = Counter()
    for text in texts("id"):
        indonesian.update(WORD.findall(text[:1].lower() + text[1:]))
    words = frequent(indonesian)
    write(INDONESIAN, list(dict.fromkeys([*words, *INDONESIAN.words()])))


def texts(language: str) -> Iterator[str]:
    """Premises and hypotheses of a language's embedded corpus."""
    for path in sorted(EMBEDDED_CORPORA.glob(f"nli/{language}/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row["premise"]
            yield row["hypothesis"]


def frequent(counts: Counter[str]) -> list[str]:
    """Words that occur twice or more, most frequent first."""
    words = [word for word, count in counts.items() if count >= 2]
    return sorted(words, key=lambda word: (-counts[word], word))


def write(language: WordLevelLanguage, words: list[str]) -> None:
    """Write a language's list, one word a line."""
    language.words_file.write_text("\n".join(words) + "\n", encoding="utf-8")
    print(f"{len(words)} words in {language.words_file}")


if __name__ == "__main__":
    main()
