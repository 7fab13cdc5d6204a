"""Uploading a saved model to the Hugging Face Hub once it is confirmed (--yes): which files go, private by default."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of the library's HTTP client: httpx or httpx2, by its version
    LocalTokenNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from kdda.errors import KddaError
from kdda.hub.card import CARD
from kdda.runs.folder import MODEL_FOLDER
from kdda.runtime.network import hub_is_reachable

REQUIRED = ("config.json", CARD, "*.safetensors")  # what every saved model has

# a checkpoint, also what sentence-transformers reads of it, and no code or pickles
UPLOADED = ("*.safetensors", "*.json", "1_Pooling/config.json", "*.txt", "*.model", "*.codes", CARD)


def push(folder: Path, repository: str, *, confirmed: bool, public: bool = False) -> list[str]:
    """Upload a saved model, or list what would be uploaded.

    Args:
        folder: a run's folder, or its ``model`` folder.
        repository: owner/name on the Hub.
        confirmed: upload it; otherwise nothing leaves this machine.
        public: make a new repository public; it is private by default.

    Returns:
        Lines that tell what was or would be uploaded, and what the licences require.

    Raises:
        KddaError: not a saved model, an invalid repository name, or the Hub's refusal.
    """
    model = _model_folder(folder)
    files = _files_to_upload(model)
    _check_repository_name(repository)
    details = [_name_and_size(path, model) for path in files] + _licence_warnings(model)
    if not confirmed:
        visibility = "public" if public else "private"
        header = f"to {repository} ({visibility}) would go:"
        return [header, *details, "nothing was sent; to send it, add --yes"]
    _upload(model, repository, files, private=not public)
    return [f"sent to {repository}:", *details]


def _model_folder(folder: Path) -> Path:
    """The saved model's folder: ``model`` inside a run's folder, else the folder itself."""
    inside = folder / MODEL_FOLDER
    if inside.is_dir():
        return inside
    return folder


def _files_to_upload(model: Path) -> list[Path]:
    """The files of a saved model that match `UPLOADED`, sorted by name.

    Raises:
        KddaError: the folder is not a saved model.
    """
    missing = [pattern for pattern in REQUIRED if not list(model.glob(pattern))]
    if missing:
        raise KddaError(f"{model} is not a model that kdda has saved: it lacks {', '.join(missing)}")
    files: set[Path] = set()
    for pattern in UPLOADED:
        files.update(model.glob(pattern))
    return sorted(files)


def _name_and_size(path: Path, model: Path) -> str:
    """A file's line: its name in the model's folder, and its size in MiB."""
    return f"{path.relative_to(model)}  {path.stat().st_size / 2**20:.1f} MB"


def _licence_warnings(model: Path) -> list[str]:
    """The model card's lines about licences, as `kdda.hub.card` writes them."""
    text = ModelCard.load(model / CARD).text
    return [line for line in text.split("\n") if line.startswith("**Licence:**")]


def _check_repository_name(repository: str) -> None:
    """Refuse a name that the Hub does not allow.

    Raises:
        KddaError: says what is wrong with it.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise KddaError(
            f'"{repository}" is no repository of the Hub ({error}); it should look like owner/name'
        ) from None


def _upload(model: Path, repository: str, files: list[Path], private: bool) -> None:
    """Create the repository where there is none, and send the files in one commit.

    Raises:
        KddaError: the Hub cannot be reached, nobody is logged in, or the Hub refuses.
    """
    if not hub_is_reachable():
        raise KddaError("the Hub cannot be reached, so nothing was sent: check the network, then run the command again")
    api = HfApi()
    names = [str(path.relative_to(model)) for path in files]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=model, allow_patterns=names, commit_message="A kdda student")
    except LocalTokenNotFoundError:
        raise KddaError("the Hub does not know you: hf auth login") from None
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise KddaError(f"the Hub did not accept the model: {' '.join(str(error).split())[:200]}") from None
