"""Write the word list of mini/vietnamese: words of several syllables that the Vietnamese inference corpus holds twice.

Run after that corpus changes: python tools/vietnamese_words.py
"""

from __future__ import annotations

import json
from collections import Counter

from kdda.data.sources import EMBEDDED_CORPORA
from kdda.models.mini.vietnamese import WORDS
from kdda.text.segment import segmented_text


def main() -> None:
    counts: Counter[str] = Counter()
    for path in sorted(EMBEDDED_CORPORA.glob("nli/vi/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for field in ("premise", "hypothesis"):
                counts.update(word for word in segmented_text(row[field], "vi").text.split() if "_" in word)
    frequent = sorted((word for word, count in counts.items() if count >= 2), key=lambda word: (-counts[word], word))
    WORDS.write_text("\n".join(frequent) + "\n", encoding="utf-8")
    print(f"{len(frequent)} of {len(counts)} words in {WORDS}")


if __name__ == "__main__":
    main()
