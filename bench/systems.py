"""The cost and the recall of open-domain question answering over a corpus.

    python bench/systems.py --reader runs/qa/student-da/seed-1/model --squad xquad.vi.json

Passages are those of the embedded Vietnamese corpus; large indexes repeat them, each copy with a part of its words
replaced at random. Large indexes are built without word segmentation, which would take an hour; syllables occur in more
passages than words do, so their queries are slower. `--passages 2000 --rounds 20` tries it out, and
`--only-large --passages 100000` measures queries of one index alone.
"""

import argparse
import json
import math
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from aims import Aim, publish
from page import arguments, machine

import kdda
from kdda.data.examples import Question, Schema, check_rows
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.embeddings.encoder import MeanPoolingModel
from kdda.retrieval.index import Index, IndexSettings
from kdda.retrieval.passages import Document
from kdda.retrieval.pipeline import Corpus
from kdda.retrieval.registry import open_retriever
from kdda.retrieval.writer import IndexWriter

EMBEDDED = [f"embedded:reading/vi/{split}" for split in ("train", "dev", "test")]
NOISE = 0.2  # of a repeated passage's words
SEGMENTED, PLAIN = "words and syllables", "syllables"
KS = (1, 5, 10)


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        what: what was measured, with its unit.
        value: the measured value.
        target: the value aimed at.
    """

    what: str
    value: str
    target: str = ""


def rows_of(names: Sequence[str]) -> list[Question]:
    """All questions of some sources."""
    rows: list[Question] = []
    for name in names:
        examples = check_rows(read_rows(Source(name)), question_converter(Schema())).examples
        rows += [example for example in examples if isinstance(example, Question)]
    return rows


def repeated(texts: Sequence[str], count: int) -> Iterator[Document]:
    """So many different passages: the texts over and over, each copy with some words replaced at random."""
    chance = random.Random(0)
    words = [text.split() for text in texts]
    vocabulary = list(chain.from_iterable(words))
    for i in range(count):
        passage = list(words[i % len(words)])
        for at in chance.sample(range(len(passage)), int(NOISE * len(passage))):
            passage[at] = chance.choice(vocabulary)
        yield Document(str(i), " ".join(passage))


def indexing(texts: Sequence[str], folder: Path, counts: dict[str, int]) -> list[Row]:
    """Passages a second, from documents to an index on disk."""
    rows = []
    for name, segmenter, target in ((PLAIN, "none", "2,000"), (SEGMENTED, "vi", "150")):
        documents = list(repeated(texts, counts[segmenter]))
        started = time.perf_counter()
        IndexWriter(folder / segmenter, IndexSettings(segmenter=segmenter, size=5000)).build(documents)
        rate = len(documents) / (time.perf_counter() - started)
        rows.append(Row(f"index {len(documents):,} passages, {name}, passages/s", f"{rate:,.0f}", f"≥ {target}"))
    return rows


def large(texts: Sequence[str], folder: Path, count: int, rounds: int) -> list[Row]:
    """Queries of a large index, in a separate process (bench/queries.py), so that its memory can be measured."""
    started = time.perf_counter()
    IndexWriter(folder / f"large-{count}", IndexSettings(segmenter="none", size=5000)).build(repeated(texts, count))
    seconds = time.perf_counter() - started
    questions = json.dumps([row.texts[0] for row in rows_of(EMBEDDED[1:])])
    queries = Path(__file__).with_name("queries.py")
    command = [sys.executable, str(queries), str(folder / f"large-{count}"), "--rounds", str(rounds)]
    child = subprocess.run(command, input=questions, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(child.stdout)
    limit = 20 if count <= 100_000 else 150
    name = f"{count:,} passages"
    return [
        Row(f"BM25 query, {name}, median ms", f"{measured['median']:.1f}", f"≤ {limit}"),
        Row(f"BM25 query, {name}, 95th percentile ms", f"{measured['p95']:.1f}"),
        Row(f"open the index, {name}, s", f"{measured['open']:.2f}"),
        Row(f"resident memory after {rounds} queries, {name}, MB", f"{measured['mb']:,.0f}", "≤ 1,024"),
        Row(f"of which no copies of files, {name}, MB", f"{measured['anonymous']:,.0f}"),
        Row(f"of which before it was opened (Python, numpy), {name}, MB", f"{measured['before']:,.0f}"),
        Row(f"peak of resident memory, {name}, MB", f"{measured['peak']:,.0f}"),
        Row(f"build the index, {name}, passages/s", f"{count / seconds:,.0f}"),
    ]


def seconds_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def recalls(name: str, rows: Sequence[Question], folder: Path, embedding_model: MeanPoolingModel) -> list[str]:
    """Lines of the table of recall: the share of questions whose passage is among the first k."""
    documents = {text: str(i) for i, text in enumerate(dict.fromkeys(row.texts[1] for row in rows))}
    lines = []
    for label, segmenter in ((PLAIN, "none"), (SEGMENTED, "vi")):
        out = folder / f"recall-{len(documents)}-{segmenter}"
        shutil.rmtree(out, ignore_errors=True)
        settings = IndexSettings(segmenter=segmenter, dense=embedding_model.name)
        IndexWriter(out, settings, embed=lambda _: embedding_model).build(
            Document(n, text) for text, n in documents.items()
        )
        index = Index.open(out)
        kinds = {"bm25": f"BM25, {label}"}
        if segmenter == "vi":
            kinds |= {"dense": "vectors", "fusion": "both, reciprocal ranks"}
        for kind, description in kinds.items():
            recall_at_k = recall(open_retriever(kind, index), rows, documents)
            cells = " | ".join(f"{value:.3f}" for value in recall_at_k)
            lines.append(f"| {name}: {len(index)} passages | {description} | {cells} |")
    return lines


def recall(retriever: Any, rows: Sequence[Question], documents: dict[str, str]) -> list[float]:
    """For each k, the share of answerable questions for which the first k passages hold a gold answer."""
    ranks = [rank_of_answer(retriever, row, documents) for row in rows if row.answers]
    return [sum(rank <= k for rank in ranks) / len(ranks) for k in KS]


def rank_of_answer(retriever: Any, row: Question, documents: dict[str, str]) -> float:
    """The rank of the first passage that holds a gold answer, infinite if it is not among those searched for."""
    for rank, hit in enumerate(retriever.search(row.texts[0], max(KS)), 1):
        passage = hit.passage
        holds_answer = any(passage.start <= gold.start < passage.end for gold in row.answers)
        if passage.document == documents[row.texts[1]] and holds_answer:
            return rank
    return math.inf


def asking(reader: str, texts: Sequence[str], folder: Path, rounds: int) -> list[Row]:
    """Seconds from a question to its answers: in a process that is warm, and of a whole command."""
    out = folder / "ask"
    IndexWriter(out).build(Document(str(i), text) for i, text in enumerate(texts))
    corpus = Corpus.open(out, kdda.load(reader))
    questions = [row.texts[0] for row in rows_of(EMBEDDED[1:])][: rounds + 2]
    seconds = [seconds_of(partial(corpus.ask, question)) for question in questions][2:]
    command = [sys.executable, "-m", "kdda", "ask", str(out), reader, questions[0], "--json"]
    cold = seconds_of(lambda: subprocess.run(command, capture_output=True, check=True))
    rows = [Row(f"ask, {corpus.passages} passages read, median s", f"{statistics.median(seconds):.2f}", "≤ 2")]
    rows.append(Row("ask, slowest s", f"{max(seconds):.2f}"))
    return [*rows, Row("`kdda ask` from the shell, all imports and loading included, s", f"{cold:.1f}")]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--reader", default="", help="a checkpoint that answers questions")
    parser.add_argument("--squad", action="append", default=[], help="a SQuAD file to measure recall on")
    parser.add_argument("--passages", default="100000,1000000", help="sizes of large indexes; none with 0")
    parser.add_argument("--rounds", type=int, default=200, help="queries")
    parser.add_argument("--folder", type=Path, help="where indexes are written meanwhile; 4 GB")
    parser.add_argument("--only-large", action="store_true", help="measure large indexes alone; nothing is written")
    options = parser.parse_args()
    if options.only_large and options.write:
        parser.error("--only-large measures a part of what --write replaces")
    if options.quick:
        options.passages, options.rounds = "400", 20
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        lines, aims = tables(options, Path(folder))
    publish(options, "systems", lines, aims)


def tables(options: argparse.Namespace, folder: Path) -> tuple[list[str], list[Aim]]:
    """Measure, and return the lines of both tables, and the aims."""
    rows = rows_of(EMBEDDED)
    texts = list(dict.fromkeys(row.texts[1] for row in rows))
    counts = {"none": 200, "vi": 20} if options.quick else {"none": 20_000, "vi": 6_000}
    measured = [] if options.only_large else indexing(texts, folder, counts)
    for count in [int(part) for part in options.passages.split(",") if int(part)]:
        measured += large(texts, folder, count, options.rounds)
    if options.reader and not options.only_large:
        measured += asking(options.reader, texts, folder, min(20, options.rounds))
    lines = [f"{machine()} Python {platform.python_version()}.", ""]
    lines += ["| what | measured | aim |", "|---|--:|--:|", *(f"| {' | '.join(row)} |" for row in measured), ""]
    if options.only_large:
        return lines, [aim_of(row) for row in measured if row.target]
    embedding_model = MeanPoolingModel.load("mini/multilingual")
    lines += ["| corpus | retriever | R@1 | R@5 | R@10 |", "|---|---|--:|--:|--:|"]
    for name, sources in (("embedded", EMBEDDED), *((Path(path).stem, [path]) for path in options.squad)):
        lines += recalls(name, rows_of(sources)[: 40 if options.quick else None], folder, embedding_model)
    return lines, [aim_of(row) for row in measured if row.target]


def aim_of(row: Row) -> Aim:
    """A row of the table that has a target, such as `≤ 1,024`."""
    bound, goal = row.target.replace(",", "").split()
    what, _, unit = row.what.rpartition(", ")
    return Aim(what, float(row.value.replace(",", "")), "≥" if bound == "≥" else "≤", float(goal), unit)


if __name__ == "__main__":
    main()
