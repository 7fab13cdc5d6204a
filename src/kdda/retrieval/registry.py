"""Retrievers by name: those of kdda, and those that a user's module registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    parameters = {parameter.name: parameter for parameter in retriever.options}
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in retriever.options):
        for option in options:
            if option not in parameters:
                raise KddaError(_unknown_option(where, name, option, list(parameters)))
    for option, parameter in parameters.items():
        has_default = parameter.default is not Parameter.empty or parameter.kind is Parameter.VAR_KEYWORD
        if option not in options and not has_default:
            raise KddaError(f'{where} "{name}": the option "{option}" is missing')
    return retriever


def _unknown_option(where: str, name: str, option: str, known: list[str]) -> str:
    if not known:
        return f'{where} "{name}" takes no options, got "{option}"'
    return unknown_choice(f'{where} "{name}": option', option, known)


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
        return retriever.open(index.folder.name if isinstance(index, Index) else str(index), **options)
    opened = index if isinstance(index, Index) else Index.open(Path(index))
    if retriever.needs_vectors and not opened.settings.dense:
        raise KddaError(f"{opened.folder} holds no vectors: index the corpus again with --dense MODEL")
    return retriever.open(opened, **options)
