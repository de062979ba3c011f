"""A model's folder on the Hugging Face hub: the model and its card, and nothing else of a run."""

from fnmatch import fnmatchcase
from pathlib import Path

from alembert.io.errors import UserError
from alembert.io.hub import reachable

# of a fine-tuned model the folder is the run's too, with texts, paths and checkpoints
NAMES = (
    "README.md", "*config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*",
    "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model",
)  # fmt: skip
FOLDERS = ("onnx", "openvino")


def push(folder: Path, repo_id: str, private: bool | None, token: str | None) -> str:
    """Upload the model in a folder to the hub in one commit, and return its address there.

    The repository is made if it is not there. Raises UserError for a folder without a model, a hub
    that cannot be reached, a wrong name and a token that may not write.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
    )

    files = files_of(folder)
    if "config.json" not in files:
        raise UserError(f"{folder}: holds no model to push: name a saved model or a finished run")
    if not reachable():
        raise UserError(f"{repo_id}: the hub cannot be reached: try again when it can")
    api = HfApi(token=token)
    try:
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=address.repo_id, folder_path=folder, allow_patterns=files,
            commit_message="Model by Alembert",
        )  # fmt: skip
    except HFValidationError as error:
        raise UserError(f"{repo_id}: is no name for the hub ({error}): write user/name") from error
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"{repo_id}: the hub refused it ({why}): log in by `hf auth login`, or give a token "
            "that may write there"
        ) from error
    return str(address)


def files_of(folder: Path) -> list[str]:
    """Return the model's files, by their paths in its folder."""
    from alembert.inference.manifest import FILE

    named = [
        path.name
        for path in folder.glob("*")
        if path.is_file() and any(fnmatchcase(path.name, name) for name in (*NAMES, FILE))
    ]
    exported = [path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file()]
    return sorted([*named, *(path.relative_to(folder).as_posix() for path in exported)])
