"""Retrievers by name (bm25, dense, fusion, opensearch), and `register_retriever` for those of a user's module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from kdda.errors import KddaError, unknown_choice
from kdda.retrieval.base import Retriever
from kdda.retrieval.bm25 import Bm25
from kdda.retrieval.dense import Dense
from kdda.retrieval.fusion import Fusion
from kdda.retrieval.index import Index
from kdda.retrieval.opensearch import open_opensearch


@dataclass(frozen=True)
class RegisteredRetriever:
    """How a retriever is opened, and what it needs.

    Attributes:
        open: called with the index, then with the options by name.
        needs_vectors: whether the index must hold vectors (``kdda index --dense MODEL``).
        reads_index: whether the index is a folder that ``kdda index`` wrote.
    """

    open: Callable[..., Retriever]
    needs_vectors: bool = False
    reads_index: bool = True

    @property
    def options(self) -> list[Parameter]:
        """The parameters of `open` after the index, which `retriever_options` may set."""
        return list(signature(self.open).parameters.values())[1:]


RETRIEVERS: dict[str, RegisteredRetriever] = {}


def register_retriever(
    name: str, open: Callable[..., Retriever], *, needs_vectors: bool = False, reads_index: bool = True
) -> None:
    """Give a retriever a name for ``kdda ask --retriever`` and for ``systems.*.retriever`` of a recipe.

    Args:
        name: not registered yet.
        open: a class or function that returns a `Retriever`. Its first parameter takes the index; further ones are the
            retriever's options (``--retriever-option``, ``retriever_options``), required where they have no default.
        needs_vectors: whether the index must hold vectors of its passages; an index without is then refused.
        reads_index: true if `open` takes an `Index`, opened from a folder of ``kdda index``. If false, it takes what
            INDEX of ``kdda ask`` says, as text; for a recipe's systems, the name of the folder of the recipe's index.

    Raises:
        KddaError: the name is taken.
    """
    if name in RETRIEVERS:
        raise KddaError(f'retriever "{name}" is registered already; choose another name')
    RETRIEVERS[name] = RegisteredRetriever(open, needs_vectors, reads_index)


register_retriever("bm25", Bm25)
register_retriever("dense", Dense.open, needs_vectors=True)
register_retriever("fusion", Fusion.open, needs_vectors=True)
register_retriever("opensearch", open_opensearch, reads_index=False)


def check_retriever(name: str, options: Mapping[str, Any], where: str = "retriever") -> RegisteredRetriever:
    """A registered retriever that takes these options.

    Args:
        where: the field or option that names it, for messages.

    Raises:
        KddaError: no such retriever, an option that it does not take, or a required one that is missing.
    """
    if name not in RETRIEVERS:
        raise KddaError(unknown_choice(where, name, RETRIEVERS))
    retriever = RETRIEVERS[name]
    known: list[str] = []
    takes_any = False
    for parameter in retriever.options:
        if parameter.kind is Parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.default is Parameter.empty and parameter.name not in options:
            raise KddaError(f'{where} "{name}": the option "{parameter.name}" is missing')
        else:
            known.append(parameter.name)
    if not takes_any:
        _check_known(options, known, f'{where} "{name}"')
    return retriever


def _check_known(options: Iterable[str], known: Sequence[str], where: str) -> None:
    """Refuse an option that a retriever does not have, with its options in the message."""
    for option in options:
        if not known:
            raise KddaError(f'{where} takes no options, got "{option}"')
        if option not in known:
            raise KddaError(unknown_choice(f"{where}: option", option, known))


def open_retriever(name: str, index: Index | Path | str, options: Mapping[str, Any] | None = None) -> Retriever:
    """Open a retriever by its name.

    Args:
        index: an open index, the folder of one, or what a retriever that reads no such folder calls its index.
        options: of the retriever.

    Raises:
        KddaError: no such retriever, options that it does not take, no such index, or one without vectors that it
            needs.
    """
    options = options or {}
    retriever = check_retriever(name, options)
    if not retriever.reads_index:
        name = index.folder.name if isinstance(index, Index) else str(index)
        return retriever.open(name, **options)
    if not isinstance(index, Index):
        index = Index.open(Path(index))
    if retriever.needs_vectors and not index.settings.dense:
        raise KddaError(f"{index.folder} holds no vectors: index the corpus again with --dense MODEL")
    return retriever.open(index, **options)
