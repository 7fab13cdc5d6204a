"""What asking a whole corpus costs, and what it finds.

    python bench/systems.py --reader runs/qa/student-da/seed-1/model --squad xquad.vi.json

Passages are those of the embedded Vietnamese corpus; large indexes repeat them, each with a part of its words drawn
anew. Those are indexed without word segmentation, which would take an hour; syllables occur in more passages than
words do, so that their queries are the slower ones. `--passages 2000 --rounds 20` tries it out.
"""

import argparse
import json
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
from pathlib import Path
from typing import Any, NamedTuple

from page import replace
from turns import peak_megabytes

import kdda
from kdda.data.examples import Question, Schema, check_rows
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.embeddings.encoder import MeanPoolingModel
from kdda.retrieval.index import Index, IndexSettings
from kdda.retrieval.passages import Document
from kdda.retrieval.pipeline import Corpus
from kdda.retrieval.pool import cores
from kdda.retrieval.registry import open_retriever
from kdda.retrieval.writer import IndexWriter

EMBEDDED = [f"embedded:reading/vi/{split}" for split in ("train", "dev", "test")]
NOISE = 0.2  # of a repeated passage's words
SEGMENTED, PLAIN = "words and syllables", "syllables"
KS = (1, 5, 10)


class Found(NamedTuple):
    """Rows of a table, and what they are measured against."""

    what: str
    value: str
    target: str = ""


def rows_of(names: Sequence[str]) -> list[Question]:
    """All questions of some sources."""
    found = (check_rows(read_rows(Source(name)), question_converter(Schema())).examples for name in names)
    return [row for rows in found for row in rows if isinstance(row, Question)]


def repeated(texts: Sequence[str], count: int) -> Iterator[Document]:
    """So many passages, each unlike the others."""
    chance = random.Random(0)
    words = [text.split() for text in texts]
    vocabulary = [word for own in words for word in own]
    for i in range(count):
        own = list(words[i % len(words)])
        for at in chance.sample(range(len(own)), int(NOISE * len(own))):
            own[at] = chance.choice(vocabulary)
        yield Document(str(i), " ".join(own))


def indexing(texts: Sequence[str], folder: Path, counts: dict[str, int]) -> list[Found]:
    """Passages a second, from documents to an index on disk."""
    rows = []
    for name, segmenter, target in ((PLAIN, "none", "2,000"), (SEGMENTED, "vi", "150")):
        documents = list(repeated(texts, counts[segmenter]))
        started = time.perf_counter()
        IndexWriter(folder / segmenter, IndexSettings(segmenter=segmenter, size=5000)).build(documents)
        rate = len(documents) / (time.perf_counter() - started)
        rows.append(Found(f"index {len(documents):,} passages, {name}, passages/s", f"{rate:,.0f}", f"≥ {target}"))
    return rows


def large(texts: Sequence[str], folder: Path, count: int, rounds: int) -> list[Found]:
    """Queries of a large index, in a process of its own, whose memory is its own."""
    started = time.perf_counter()
    IndexWriter(folder / f"large-{count}", IndexSettings(segmenter="none", size=5000)).build(repeated(texts, count))
    made = time.perf_counter() - started
    command = [sys.executable, __file__, "--measure", str(folder / f"large-{count}"), "--rounds", str(rounds)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    limit = 20 if count <= 100_000 else 150
    name = f"{count:,} passages"
    return [
        Found(f"BM25 query, {name}, median ms", f"{said['median']:.1f}", f"≤ {limit}"),
        Found(f"BM25 query, {name}, 95th percentile ms", f"{said['p95']:.1f}"),
        Found(f"open the index, {name}, s", f"{said['open']:.2f}"),
        Found(f"resident memory after {rounds} queries, {name}, MB", f"{said['mb']:,.0f}", "≤ 1,024"),
        Found(f"of which before it was opened (Python, torch), {name}, MB", f"{said['before']:,.0f}"),
        Found(f"made at, {name}, passages/s", f"{count / made:,.0f}"),
    ]


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """What the process of `large` measures."""
    asked = [row.texts[0] for row in rows_of(EMBEDDED[1:])]
    before = peak_megabytes()
    started = time.perf_counter()
    retriever = open_retriever("bm25", Index.open(folder))
    opened = time.perf_counter() - started
    asked = (asked * (rounds // len(asked) + 1))[:rounds]
    seconds = [seconds_of(partial(retriever.search, question, 10)) for question in asked]
    return {
        "median": 1000 * statistics.median(seconds),
        "p95": 1000 * statistics.quantiles(seconds, n=20)[-1],
        "open": opened,
        "mb": peak_megabytes(),
        "before": before,
    }


def seconds_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def recalls(name: str, rows: Sequence[Question], folder: Path, embedding_model: MeanPoolingModel) -> list[str]:
    """Lines of the table of recall: questions whose passage is among the first k."""
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
        kinds = {"bm25": f"BM25, {label}"} if segmenter == "none" else {"bm25": f"BM25, {label}", "dense": "vectors"}
        kinds |= {"fusion": "both, reciprocal ranks"} if segmenter == "vi" else {}
        for kind, said in kinds.items():
            found = recall(open_retriever(kind, index), rows, documents)
            cells = " | ".join(f"{own:.3f}" for own in found)
            lines.append(f"| {name}: {len(index)} passages | {said} | {cells} |")
    return lines


def recall(retriever: Any, rows: Sequence[Question], documents: dict[str, str]) -> list[float]:
    hits = dict.fromkeys(KS, 0)
    answerable = [row for row in rows if row.answers]
    for row in answerable:
        for rank, hit in enumerate(retriever.search(row.texts[0], max(KS)), 1):
            own = hit.passage
            if own.document == documents[row.texts[1]] and any(own.start <= g.start < own.end for g in row.answers):
                for k in KS:
                    hits[k] += rank <= k
                break
    return [count / len(answerable) for count in hits.values()]


def asking(reader: str, texts: Sequence[str], folder: Path, rounds: int) -> list[Found]:
    """From a question to answers: in a process that is warm, and as a whole command."""
    out = folder / "ask"
    IndexWriter(out).build(Document(str(i), text) for i, text in enumerate(texts))
    corpus = Corpus.open(out, kdda.load(reader))
    asked = [row.texts[0] for row in rows_of(EMBEDDED[1:])][: rounds + 2]
    seconds = [seconds_of(partial(corpus.ask, question)) for question in asked][2:]
    command = [sys.executable, "-m", "kdda", "ask", str(out), reader, asked[0], "--json"]
    cold = seconds_of(lambda: subprocess.run(command, capture_output=True, check=True))
    rows = [Found(f"ask, {corpus.passages} passages read, median s", f"{statistics.median(seconds):.2f}", "≤ 2")]
    rows.append(Found("ask, slowest s", f"{max(seconds):.2f}"))
    return [*rows, Found("`kdda ask` from the shell, all imports and loading included, s", f"{cold:.1f}")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", default="", help="a checkpoint that answers questions")
    parser.add_argument("--squad", action="append", default=[], help="questions of your own to measure recall on")
    parser.add_argument("--passages", default="100000,1000000", help="sizes of large indexes; none with 0")
    parser.add_argument("--rounds", type=int, default=200, help="queries")
    parser.add_argument("--folder", type=Path, help="where indexes are kept meanwhile; 4 GB")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help="docs/performance.md, whose tables are replaced")
    own = parser.parse_args()
    if own.measure:
        print(json.dumps(measure(own.measure, own.rounds)))
        return
    with tempfile.TemporaryDirectory(dir=own.folder) as folder:
        lines = tables(own, Path(folder))
    print("\n".join(lines))
    if own.write:
        replace(own.write, "systems", lines)


def tables(own: argparse.Namespace, folder: Path) -> list[str]:
    rows = rows_of(EMBEDDED)
    texts = list(dict.fromkeys(row.texts[1] for row in rows))
    found = indexing(texts, folder, {"none": 20_000, "vi": 6_000})
    for count in [int(part) for part in own.passages.split(",") if int(part)]:
        found += large(texts, folder, count, own.rounds)
    if own.reader:
        found += asking(own.reader, texts, folder, min(20, own.rounds))
    lines = [f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}.", ""]
    lines += ["| what | measured | aim |", "|---|--:|--:|", *(f"| {' | '.join(row)} |" for row in found), ""]
    embedding_model = MeanPoolingModel.load("mini/multilingual")
    lines += ["| corpus | retriever | R@1 | R@5 | R@10 |", "|---|---|--:|--:|--:|"]
    for name, sources in (("embedded", EMBEDDED), *((Path(path).stem, [path]) for path in own.squad)):
        lines += recalls(name, rows_of(sources), folder, embedding_model)
    return lines


if __name__ == "__main__":
    main()
