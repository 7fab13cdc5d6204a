"""Tokenizers with a part of their vocabulary: Unigram, BPE, WordPiece, WordLevel, and PhoBERT's `bpe.codes`.

The rule that keeps the tokens of some texts as they were: a tokenizer prefers the best, the first or the longest of the
pieces that fit, so a piece that it did not choose may go, and the chosen ones stay the best, the first, the longest.
Three things must stay besides: single characters (so that every text that could be encoded still can), the pieces that
a BPE token is merged from, and the Unigram piece of the lowest score, from which the score of unknown characters
is derived.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from kdda.errors import KddaError
from kdda.models.families import is_phobert_tokenizer

WORD_START = "▁"  # stands for the space before a word in the pieces of SentencePiece

# The id of every token that is kept → its id after the cut. The order of ids stays.
NewIds = dict[int, int]


class VocabularyCut(ABC):
    """What may be left out of a tokenizer, and the tokenizer without it."""

    @abstractmethod
    def texts(self) -> dict[int, str]:
        """What each token reads, without the marks of its kind such as ``##``; incomplete letters are left out."""

    @abstractmethod
    def closure(self, ids: Iterable[int]) -> set[int]:
        """Some tokens, and all that must stay with them."""

    @abstractmethod
    def write(self, folder: Path, new_ids: NewIds) -> None:
        """Rewrite the files that the whole tokenizer has saved into a folder."""


def vocabulary_cut(tokenizer: Any) -> VocabularyCut:
    """The cut for a tokenizer of transformers.

    Raises:
        KddaError: a slow tokenizer other than PhoBERT's, or a kind of vocabulary that is not known.
    """
    if is_phobert_tokenizer(tokenizer):
        return PhobertCut(tokenizer)
    if not tokenizer.is_fast:
        raise KddaError(f"{type(tokenizer).__name__} is a slow tokenizer; only fast ones and PhoBERT's are trimmed")
    return FastCut(tokenizer)


class FastCut(VocabularyCut):
    """The cut of a fast tokenizer, on the contents of its tokenizer.json."""

    def __init__(self, tokenizer: Any):
        self.contents: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        self.kind: str = self.contents["model"]["type"]
        if self.kind not in PIECES:
            raise KddaError(f"a {self.kind} tokenizer cannot be trimmed, expected one of: {', '.join(PIECES)}")
        self.pieces: dict[str, int] = PIECES[self.kind](self.contents["model"])
        self.added = {token["id"] for token in self.contents["added_tokens"]}
        self.is_byte_level = '"ByteLevel"' in json.dumps(self.contents["pre_tokenizer"])

    def texts(self) -> dict[int, str]:
        """What each token reads; see `VocabularyCut`."""
        texts = {}
        for piece, token in self.pieces.items():
            text = self._without_marks(piece)
            if self.is_byte_level:
                text = _decode_byte_level(text)
            texts[token] = text
        return texts

    def _without_marks(self, piece: str) -> str:
        """A piece without the marks for the start or the inside of a word."""
        prefix = self.contents["model"].get("continuing_subword_prefix") or ""
        return piece.removeprefix(prefix).removeprefix(WORD_START)

    def closure(self, ids: Iterable[int]) -> set[int]:
        """Some tokens, and all that must stay with them: specials, characters, what they are merged from."""
        needed = {*ids, *self.added, *self._always()}
        if self.kind == "BPE":
            _add_parts(needed, self.pieces, self._merges)
        return needed

    def _always(self) -> set[int]:
        """Single characters, bytes, and what a model of this kind needs to read unknown characters as before."""
        model = self.contents["model"]
        always = set()
        for piece, token in self.pieces.items():
            is_byte = model.get("byte_fallback") and piece.startswith("<0x")
            if is_byte or len(self._without_marks(piece)) <= 1:
                always.add(token)
        if model.get("unk_token") in self.pieces:
            always.add(self.pieces[model["unk_token"]])
        if self.kind == "Unigram":
            scores = [score for _, score in model["vocab"]]
            always.add(scores.index(min(scores)))
            if model["unk_id"] is not None:
                always.add(model["unk_id"])
        return always

    @cached_property
    def _merges(self) -> dict[str, list[tuple[str, str]]]:
        """The pairs of pieces that are merged into each piece."""
        prefix = self.contents["model"].get("continuing_subword_prefix") or ""
        merges: dict[str, list[tuple[str, str]]] = {}
        for first, second in self.contents["model"]["merges"]:
            merges.setdefault(first + second.removeprefix(prefix), []).append((first, second))
        return merges

    def write(self, folder: Path, new_ids: NewIds) -> None:
        """Rewrite the saved files of the tokenizer."""
        contents = json.loads(json.dumps(self.contents))
        _cut_model(contents["model"], self.pieces, new_ids)
        for token in contents["added_tokens"]:
            token["id"] = new_ids[token["id"]]
        _renumber(contents["post_processor"], new_ids)
        if contents.get("padding"):
            contents["padding"]["pad_id"] = new_ids[contents["padding"]["pad_id"]]
        for (
            path
        ) in folder.iterdir():  # the whole vocabulary in other forms, from which a tokenizer could be built again
            if path.name in ("vocab.txt", "vocab.json", "merges.txt") or path.suffix == ".model":
                path.unlink()
        (folder / "tokenizer.json").write_text(json.dumps(contents, ensure_ascii=False), encoding="utf-8")
        _drop_token_ids(folder / "tokenizer_config.json")


class PhobertCut(VocabularyCut):
    """The cut of PhoBERT's tokenizer, on vocab.txt and bpe.codes.

    Its vocabulary writes a piece inside a word as ``th@@`` and one at the end as ``th``; its merges write them as
    ``th`` and ``th</w>``.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.pieces: dict[str, int] = dict(tokenizer.encoder)
        self.added: set[int] = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def texts(self) -> dict[int, str]:
        """What each token reads; see `VocabularyCut`."""
        return {token: piece.removesuffix("@@").replace("_", " ") for piece, token in self.pieces.items()}

    def closure(self, ids: Iterable[int]) -> set[int]:
        """Some tokens, and all that must stay with them: specials, characters, what they are merged from."""
        needed = {*ids, *self.added}
        for piece, token in self.pieces.items():
            if len(piece.removesuffix("@@")) <= 1:
                needed.add(token)
        _add_parts(needed, self._merged_pieces, self._merges)
        return needed

    @cached_property
    def _merged_pieces(self) -> dict[str, int]:
        """The vocabulary as merges write it."""
        merged = {}
        for piece, token in self.pieces.items():
            merged[piece[:-2] if piece.endswith("@@") else f"{piece}</w>"] = token
        return merged

    @cached_property
    def _merges(self) -> dict[str, list[tuple[str, str]]]:
        """The pairs of symbols that are merged into each symbol, in bpe.codes."""
        merges: dict[str, list[tuple[str, str]]] = {}
        for first, second in self.tokenizer.bpe_ranks:
            merges.setdefault(first + second, []).append((first, second))
        return merges

    def write(self, folder: Path, new_ids: NewIds) -> None:
        """Rewrite the saved files of the tokenizer."""
        kept = {piece for piece, token in self._merged_pieces.items() if token in new_ids}
        symbols = _merged_symbols(kept, self._merges)
        codes = []
        for line in Path(self.tokenizer.merges_file).read_text(encoding="utf-8").split("\n"):
            parts = line.split()
            if len(parts) != 3 or parts[0] + parts[1] in symbols:
                codes.append(line)
        (folder / "bpe.codes").write_text("\n".join(codes), encoding="utf-8")
        entries = []
        for line in Path(self.tokenizer.vocab_file).read_text(encoding="utf-8").splitlines():
            if self.pieces[line.rpartition(" ")[0]] in new_ids:
                entries.append(f"{line}\n")
        (folder / "vocab.txt").write_text("".join(entries), encoding="utf-8")
        for name in ("tokenizer.json", "added_tokens.json"):
            (folder / name).unlink(missing_ok=True)
        _drop_token_ids(folder / "tokenizer_config.json")


def _add_parts(needed: set[int], pieces: dict[str, int], merges: dict[str, list[tuple[str, str]]]) -> None:
    """Add the tokens of all pieces that the needed ones are merged from, down to single characters."""
    kept = {piece for piece, token in pieces.items() if token in needed}
    for symbol in _merged_symbols(kept, merges):
        if symbol in pieces:  # PhoBERT merges over pieces that its vocabulary lacks
            needed.add(pieces[symbol])


def _merged_symbols(kept: set[str], merges: dict[str, list[tuple[str, str]]]) -> set[str]:
    """The kept pieces, and all that they are merged from."""
    symbols: set[str] = set()
    waiting = list(kept)
    while waiting:
        symbol = waiting.pop()
        if symbol in symbols:
            continue
        symbols.add(symbol)
        for pair in merges.get(symbol, ()):
            waiting += pair
    return symbols


def _cut_model(model: dict[str, Any], pieces: dict[str, int], new_ids: NewIds) -> None:
    """Leave in a tokenizer.json's model only the kept pieces, under their new ids."""
    kept = {piece: new_ids[token] for piece, token in pieces.items() if token in new_ids}
    if model["type"] == "Unigram":
        model["vocab"] = [entry for token, entry in enumerate(model["vocab"]) if token in new_ids]
        if model["unk_id"] is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
        return
    model["vocab"] = kept
    if model["type"] == "BPE":
        prefix = model.get("continuing_subword_prefix") or ""
        merges = []
        for first, second in model["merges"]:
            if first in kept and second in kept and first + second.removeprefix(prefix) in kept:
                merges.append([first, second])
        model["merges"] = merges


def _renumber(part: Any, new_ids: NewIds) -> None:
    """Give new ids to the special tokens of a post-processor, whatever it is made of."""
    if isinstance(part, list):
        for entry in part:
            _renumber(entry, new_ids)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("sep", "cls") and isinstance(value, list):  # ["</s>", 2]
                value[1] = new_ids[value[1]]
            elif name == "ids":
                part[name] = [new_ids[token] for token in value]
            else:
                _renumber(value, new_ids)


def _drop_token_ids(path: Path) -> None:
    """Remove the ids of added tokens from tokenizer_config.json; tokenizer.json or the vocabulary says them."""
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("added_tokens_decoder", None)
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _decode_byte_level(piece: str) -> str:
    """What a piece of a byte-level tokenizer reads; incomplete characters are left out."""
    from tokenizers.decoders import ByteLevel

    return str(ByteLevel().decode([piece])).replace("\N{REPLACEMENT CHARACTER}", "")


def _unigram_pieces(model: dict[str, Any]) -> dict[str, int]:
    """Piece → id, which is the place in the list of pieces with their scores."""
    return {piece: token for token, (piece, _) in enumerate(model["vocab"])}


def _listed_pieces(model: dict[str, Any]) -> dict[str, int]:
    """Piece → id, as BPE, WordPiece and WordLevel list them."""
    return dict(model["vocab"])


# The kind of a tokenizer.json's model → its pieces with their ids.
PIECES: dict[str, Callable[[dict[str, Any]], dict[str, int]]] = {
    "Unigram": _unigram_pieces,
    "BPE": _listed_pieces,
    "WordPiece": _listed_pieces,
    "WordLevel": _listed_pieces,
}
