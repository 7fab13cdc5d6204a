"""Answers from a corpus: documents become an index, a retriever finds passages, a reader answers from them.

python examples/ask_corpus.py --reader runs/qa/student-da/seed-1/model --corpus texts "Sông nào chảy qua Huế?"
"""

from __future__ import annotations

import argparse
from pathlib import Path

import kdda
from kdda.retrieval import Corpus, IndexSettings, IndexWriter, read_documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--reader", required=True, help="a model that answers questions")
    parser.add_argument("--corpus", type=Path, required=True, help="a folder of texts, or one file")
    parser.add_argument("--index", type=Path, default=Path("index"))
    parser.add_argument("--segmenter", default="vi", help="none matches syllables alone")
    options = parser.parse_args()

    if not options.index.exists():
        writer = IndexWriter(options.index, IndexSettings(segmenter=options.segmenter))
        print(writer.build(read_documents(options.corpus), False))
    corpus = Corpus.open(options.index, kdda.load(options.reader))
    for answer in corpus.ask(options.question, best=3):
        passage = answer.passage
        print(f"{answer.score:.2f}  {answer.answer}  ({passage.source})")
        assert passage.text[answer.start : answer.end] == answer.answer


if __name__ == "__main__":
    main()
