"""A saved model to the Hugging Face Hub, when its owner says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from kdda.errors import KddaError
from kdda.runs.folder import MODEL_FOLDER

NEEDED = ("config.json", "README.md")

SENT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.codes", "README.md")  # a checkpoint, and nothing that may run


def push(folder: Path, repository: str, *, agreed: bool, public: bool = False) -> list[str]:
    """Send a saved model, or say what would be sent.

    Args:
        folder: a run's folder, or its ``model`` folder.
        agreed: send it; nothing leaves this machine otherwise.
        public: make a new repository public; it is private by default.

    Returns:
        What was or would be done, in lines.

    Raises:
        KddaError: not a saved model, a repository name that cannot be, or the Hub's refusal.
    """
    model = folder / MODEL_FOLDER if (folder / MODEL_FOLDER).is_dir() else folder
    files = sorted({path for pattern in SENT for path in model.glob(pattern)}) if model.is_dir() else []
    lacking = [name for name in (*NEEDED, "*.safetensors") if not list(model.glob(name))]
    if lacking:
        raise KddaError(f"{model} is not a model that kdda has saved: it lacks {', '.join(lacking)}")
    _check_name(repository)
    what = [f"{path.name}  {path.stat().st_size / 2**20:.1f} MB" for path in files]
    cautions = list(_cautions(model))
    if not agreed:
        seen = "public" if public else "private"
        return [f"to {repository} ({seen}) would go:", *what, *cautions, "nothing was sent; to send it, add --yes"]
    _send(model, repository, [path.name for path in files], private=not public)
    return [f"sent to {repository}:", *what, *cautions]


def _cautions(model: Path) -> Iterator[str]:
    text = ModelCard.load(model / "README.md").text
    yield from (line for line in text.split("\n") if line.startswith("**Licence:**"))


def _check_name(repository: str) -> None:
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise KddaError(
            f'"{repository}" is no repository of the Hub ({error}); it should look like owner/name'
        ) from None


def _send(model: Path, repository: str, names: list[str], private: bool) -> None:
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=model, allow_patterns=names, commit_message="A kdda student")
    except LocalTokenNotFoundError:
        raise KddaError("the Hub does not know you: hf auth login") from None
    except (HfHubHTTPError, OSError) as error:
        raise KddaError(f"the Hub did not take it: {' '.join(str(error).split())[:200]}") from None
