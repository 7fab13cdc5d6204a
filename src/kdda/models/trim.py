"""A smaller checkpoint for people: the vocabulary and its embedding cut together to what texts or languages need.

Of XLM-R base's 278 million parameters, 192 million are the rows of 250,000 tokens, and a language uses a part of them.
Ids change, tokens do not: on the texts that the cut was made for, the trimmed model computes what the whole one does,
to the last digit, which is checked before anything is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdda.errors import KddaError
from kdda.models.classes import MODEL_CLASSES, has_head
from kdda.models.load import Checkpoint, load_checkpoint, load_config
from kdda.models.tokenizer_cut import NewIds, VocabularyCut, vocabulary_cut
from kdda.runtime.folders import new_folder
from kdda.runtime.numbers import count_of
from kdda.text.scripts import is_written_in, scripts_of
from kdda.text.tokenize import TokenizerAdapter

TEXTS_AT_ONCE = 1024  # texts that are tokenized together

CHECKED_STATES = 32  # texts whose hidden states are compared with the whole model's

LONGEST_CHECKED = 128  # tokens of each of them

# Files that stay beside the weights: documents, and what sentence-transformers reads.
DOCUMENTS = (
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)


@dataclass(frozen=True)
class TrimmedCheckpoint:
    """What was cut.

    Attributes:
        tokens: of the whole vocabulary.
        kept: of the trimmed one.
        bytes_before, bytes_after: of the weights as they are stored.
        compared: texts whose tokens were compared with the whole tokenizer's.
        dropped: what the checkpoint had and the trimmed one lacks, in words; empty if nothing.
    """

    tokens: int
    kept: int
    bytes_before: int
    bytes_after: int
    compared: int
    dropped: str

    def __str__(self) -> str:
        """What `kdda trim` prints: tokens, megabytes saved, what was compared, what is missing."""
        saved = self.bytes_before - self.bytes_after
        text = (
            f"{self.kept:,} of {count_of(self.tokens, 'token')}; weights {self.bytes_before / 1e6:,.1f} → "
            f"{self.bytes_after / 1e6:,.1f} MB, {saved / 1e6:,.1f} MB saved"
        )
        if self.compared:
            texts = count_of(self.compared, "text")
            text += f"; the same tokens on {texts}, the same states on {min(self.compared, CHECKED_STATES)}"
        if self.dropped:
            text += f"; {self.dropped}"
        return text


def trim(name: str, out: Path, texts: Sequence[str] = (), languages: Sequence[str] = ()) -> TrimmedCheckpoint:
    """Write a checkpoint with the part of its vocabulary that some texts or languages need.

    Single characters stay, so that every text that the tokenizer could encode still can be; a text with other words is
    read in more, shorter tokens.

    Args:
        name: a mini model, a folder or a Hub id.
        out: a new or empty folder.
        texts: whose tokens stay what they are.
        languages: ISO 639-1 codes; every text in their writing systems keeps its tokens.

    Raises:
        KddaError: neither texts nor languages; a folder that is not empty; a tokenizer that cannot be cut; or a
            trimmed model that does not compute what the whole one does.
    """
    if not texts and not languages:
        raise KddaError("nothing says what to keep: give texts (--data), languages (--languages), or both")
    scripts = scripts_of(languages)
    with new_folder(out) as folder:
        head = _head_of(load_config(name))
        whole = load_checkpoint(name, head=head)
        cut = vocabulary_cut(whole.tokenizer)
        needed = cut.closure({*_used(whole, texts), *_written_in(cut, scripts)})
        new_ids = {token: number for number, token in enumerate(sorted(needed))}
        expected = list(_states(whole, texts))
        whole_ids = list(_ids(whole, texts))
        before = _bytes_of(whole.model)
        tokens = len(whole.tokenizer.get_vocab())
        dropped = _write(whole, cut, new_ids, folder, name)
        _check(folder, head, whole.segmenter, texts, whole_ids, new_ids, expected)
    return TrimmedCheckpoint(tokens, len(new_ids), before, _bytes_of(whole.model), len(texts), dropped)


def texts_of(rows: Iterable[Any]) -> Iterator[str]:
    """Every text in some rows: fields, and what lists and mappings in them hold."""
    for row in rows:
        if isinstance(row, str):
            if row.strip():
                yield row
        elif isinstance(row, dict):
            yield from texts_of(row.values())
        elif isinstance(row, list | tuple):
            yield from texts_of(row)


def _head_of(config: Any) -> str:
    """The head of a checkpoint, by the class that its config names."""
    for head in MODEL_CLASSES:
        if head != "none" and has_head(config, head):
            return head
    return "none"


def _written_in(cut: VocabularyCut, scripts: set[str]) -> set[int]:
    """The tokens of some writing systems; none without any."""
    if not scripts:
        return set()
    return {token for token, text in cut.texts().items() if is_written_in(text, scripts)}


def _used(checkpoint: Checkpoint, texts: Sequence[str]) -> set[int]:
    """The ids that occur in some texts."""
    used: set[int] = set()
    for ids in _ids(checkpoint, texts):
        used.update(ids)
    return used


def _ids(checkpoint: Checkpoint, texts: Iterable[str]) -> Iterator[list[int]]:
    """The ids of each text, without special tokens."""
    adapter = TokenizerAdapter(checkpoint.tokenizer, checkpoint.segmenter)
    remaining = iter(texts)
    while chunk := list(islice(remaining, TEXTS_AT_ONCE)):
        for tokenized in adapter.tokenize(chunk):
            yield tokenized.ids.tolist()


def _write(whole: Checkpoint, cut: VocabularyCut, new_ids: NewIds, folder: Path, name: str) -> str:
    """Write the trimmed checkpoint; the model in memory is trimmed, too.

    Returns:
        What the checkpoint had and the trimmed one lacks, in words.
    """
    model = whole.model
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise KddaError(f'"{name}": its tokens are embedded by a {type(embedding).__name__}, not by a table of rows')
    dropped = ""
    if model.get_output_embeddings() is not None or "MaskedLM" in str(getattr(model.config, "architectures", "")):
        dropped = "the head that predicts masked tokens was left out"
    rows = torch.tensor(sorted(new_ids))
    padding = new_ids.get(embedding.padding_idx) if embedding.padding_idx is not None else None
    trimmed = nn.Embedding(len(rows), embedding.embedding_dim, padding, _weight=embedding.weight.detach()[rows].clone())
    model.set_input_embeddings(trimmed)
    _renumber_config(model.config, whole.tokenizer, new_ids)
    model.save_pretrained(folder)
    whole.tokenizer.save_pretrained(folder)
    cut.write(folder, new_ids)
    for document in DOCUMENTS:
        if (Path(name) / document).is_file():
            (folder / document).parent.mkdir(exist_ok=True)
            shutil.copy(Path(name) / document, folder / document)
    return dropped


def _renumber_config(config: Any, tokenizer: Any, new_ids: NewIds) -> None:
    """Give a config the new ids of its special tokens, and the new size of its vocabulary."""
    config.vocab_size = len(new_ids)
    for special in ("pad", "bos", "eos", "sep", "cls", "mask", "unk", "decoder_start"):
        field = f"{special}_token_id"
        token = getattr(config, field, None)
        if not isinstance(token, int):
            continue
        if token not in new_ids:  # an id that the tokenizer does not have, such as a default of the architecture
            token = getattr(tokenizer, field, None)
        if token not in new_ids:  # the config may insist on a number: one that is in the table
            token = tokenizer.pad_token_id
        setattr(config, field, new_ids[token])


def _states(checkpoint: Checkpoint, texts: Sequence[str]) -> Iterator[tuple[torch.Tensor, ...]]:
    """What a model computes for some texts: logits if it has a head, else hidden states."""
    for weight in checkpoint.model.parameters():
        weight.data = weight.data.clone()  # weights mapped from a file lie otherwise, and sums round otherwise
    encoder = checkpoint.encoder(LONGEST_CHECKED)
    pad = checkpoint.tokenizer.pad_token_id
    for text in texts[:CHECKED_STATES]:
        ids = torch.tensor([encoder.encode([text])[0].ids])
        with torch.no_grad():
            output = checkpoint.model(input_ids=ids, attention_mask=(ids != pad).long())
        yield tuple(value for value in output.to_tuple() if isinstance(value, torch.Tensor))


def _check(
    folder: Path,
    head: str,
    segmenter: str,
    texts: Sequence[str],
    whole_ids: Sequence[list[int]],
    new_ids: NewIds,
    expected: Sequence[tuple[torch.Tensor, ...]],
) -> None:
    """Open what was written and compare it with the whole model."""
    trimmed = load_checkpoint(str(folder), head=head, segmenter=segmenter)
    for text, ids, whole in zip(texts, _ids(trimmed, texts), whole_ids, strict=True):
        if ids != [new_ids[token] for token in whole]:
            raise KddaError(
                f'the trimmed tokenizer reads "{text[:60]}" otherwise than the whole one; nothing was written'
            )
    for states, whole_states in zip(_states(trimmed, texts), expected, strict=True):
        if not all(map(torch.equal, states, whole_states)):
            raise KddaError("the trimmed model computes other states than the whole one; nothing was written")


def _bytes_of(model: Any) -> int:
    """Bytes of a model's weights."""
    return sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
