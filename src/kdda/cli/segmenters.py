"""The command `compare-segmenters`: words and tokens of two word segmenters on a file; 10 differing lines are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdda.cli.shared import app, show
from kdda.errors import KddaError
from kdda.runtime.numbers import count_of
from kdda.runtime.text_files import printable


@app.command("compare-segmenters")
def compare_segmenters(
    file: Annotated[Path, typer.Argument(help="A text file in UTF-8, a text a line.")],
    first: Annotated[str, typer.Argument(help="vi (underthesea), pyvi, vncorenlp or none.")] = "vi",
    second: Annotated[str, typer.Argument(help="The same.")] = "vncorenlp",
    model: Annotated[str, typer.Option(help="PhoBERT, a folder or a Hub id, to compare its tokens, too.")] = "",
    examples: Annotated[int, typer.Option(help="Lines to show that differ.", min=0)] = 10,
) -> None:
    """Compare the words, and PhoBERT's tokens, of two word segmenters on a file."""
    from kdda.text.segment import segmented_text
    from kdda.text.tokenize import TokenizerAdapter

    if not file.is_file():
        raise KddaError(f'no file "{printable(file)}"')
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KddaError(f"{file}: cannot be read as UTF-8 text: {error}") from None
    tokenizer = None
    if model:
        from kdda.models.load import load_tokenizer

        tokenizer, _ = load_tokenizer(model)
    texts = 0
    different: list[tuple[str, str]] = []
    words, tokens = [0, 0], [0, 0]
    for line in lines:
        if not line.strip():
            continue
        texts += 1
        readings = []
        for column, segmenter in enumerate((first, second)):
            readings.append(segmented_text(line, segmenter).text)
            words[column] += len(readings[-1].split())
            if tokenizer is not None:
                tokens[column] += len(TokenizerAdapter(tokenizer, segmenter).tokenize([line])[0])
        if readings[0].split() != readings[1].split():
            different.append((readings[0], readings[1]))
    segmented = f"{count_of(texts, 'text')}, {len(different)} segmented differently"
    show(f"{segmented}; words: {first} {words[0]}, {second} {words[1]}")
    if tokenizer is not None:
        show(f"tokens: {first} {tokens[0]}, {second} {tokens[1]}")
    for left, right in different[:examples]:
        print(f"{first:>12}  {left}\n{second:>12}  {right}")
