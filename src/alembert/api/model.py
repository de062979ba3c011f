"""A saved model as a value: its metrics, what it predicts, its export."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembert.io.answers import Texts
from alembert.io.files import model_folder, read_json

if TYPE_CHECKING:
    from alembert.inference import Session


class Model:
    """The folder of a saved model, or of a run that made one.

    An exported model answers by its engine, another one by torch. `predict`, `embed`, `tag` and
    `fill_mask` are those of `Session`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r})"

    @property
    def path(self) -> Path:
        """The folder of the weights: `folder`, or student/ in a run's folder."""
        return model_folder(self.folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the run: "student", "teacher", "retention"; empty without a run."""
        file = self.folder / "metrics.json"
        return dict(read_json(file)) if file.is_file() else {}

    @cached_property
    def session(self) -> "Session":
        """The open model. Raises UserError for a folder that holds none."""
        from alembert.api.deploy import open_session

        return open_session(self.folder)

    def predict(self, texts: Texts) -> Any:
        """Return a Prediction, Labels or Score for each text."""
        return self.session.predict(texts)

    def embed(self, texts: Texts) -> Any:
        """Return vectors (N, H), or (H,) for one text."""
        return self.session.embed(texts)

    def tag(self, texts: Texts) -> Any:
        """Return the Tags of each text."""
        return self.session.tag(texts)

    def fill_mask(self, texts: Texts, top: int = 5) -> Any:
        """Return the `top` Guesses for each mask of each text."""
        return self.session.fill_mask(texts, top)

    def export(self, *backends: str, data: str | None = None, max_length: int = 128) -> "Model":
        """Export to ONNX and to other backends, such as "int8", each checked against torch.

        data: texts like those it will read. Returns the model, which then answers by the export.
        """
        from alembert.data.splits import Files
        from alembert.export.export import export

        names: Sequence[str] = list(dict.fromkeys(("onnx", *backends)))
        export(str(self.folder), names, Files(train=data) if data else None, max_length)
        self.__dict__.pop("session", None)
        return self

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload the model, its exports and its card to the Hugging Face hub; return the address.

        A run's card is written anew, unless it was edited. Without a token, the one of
        `hf auth login` or HF_TOKEN counts. Raises UserError that says why the hub refused it.
        """
        from alembert.api import hub
        from alembert.report import model_card

        if (self.folder / "recipe.yaml").is_file():
            model_card.write(self.folder)
        return hub.push(self.path, repo_id, private, token)


def load(folder: str | Path) -> Model:
    """Return the model in a folder: a saved model, an exported one, or a run's student."""
    return Model(folder)
