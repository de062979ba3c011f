"""A saved model as a value: its metrics, what it predicts, its export."""

from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from alembert.api import deploy, given, serving
from alembert.api.given import plain
from alembert.io.answers import Texts
from alembert.io.files import best_of_seeds, check_fields, model_folder, read_json

if TYPE_CHECKING:
    from alembert.data.sources import Given
    from alembert.inference import Session


A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")


def _of_model(
    function: Callable[Concatenate[A, P], T], first: Callable[["Model"], A]
) -> Callable[Concatenate["Model", P], T]:
    """A function of the command line's verb as a method, which gives it the model's folder."""

    @wraps(function)
    def call(model: "Model", /, *positional: P.args, **named: P.kwargs) -> T:
        return function(first(model), *positional, **named)

    return call


class Model:
    """The folder of a saved model, or of a run that made one.

    An exported model answers by its engine, another one by torch. `predict`, `embed`, `tag` and
    `fill_mask` are those of `Session`, and `evaluate`, `bench`, `report` and `serve` of the verbs.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __fspath__(self) -> str:
        """The folder as a text: a Model may be given where a path may."""
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        from alembert.report.tables import html

        return html(self.folder)

    @property
    def path(self) -> Path:
        """The folder of the weights: `folder`, or student/ in a run's folder."""
        return model_folder(self.folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the run: "student", "teacher", "retention"; empty without a run."""
        file = self.folder / "metrics.json"
        metrics = read_json(file) if file.is_file() else {}
        check_fields(file, {"metrics": metrics}, {"metrics": dict})
        return dict(metrics)

    @property
    def summary(self) -> str:
        """The run's metrics in a line, and below it the variant that is deployed."""
        from alembert.report.closing import closing

        return closing(self.folder)

    @cached_property
    def session(self) -> "Session":
        """The open model. Raises UserError for a folder that holds none."""
        return deploy.open_session(self.folder)

    def predict(self, texts: Texts) -> Any:
        """Return a Prediction, Labels or Score for each text."""
        return self.session.predict(texts)

    def embed(self, texts: Texts) -> Any:
        """Return vectors (N, H), or (H,) for one text."""
        return self.session.embed(texts)

    def answer(self, texts: Texts) -> Any:
        """Return the Answer to each pair of a question and its context."""
        return self.session.answer(texts)

    def tag(self, texts: Texts) -> Any:
        """Return the Tags of each text."""
        return self.session.tag(texts)

    def fill_mask(self, texts: Texts, top: int = 5) -> Any:
        """Return the `top` Guesses for each mask of each text."""
        return self.session.fill_mask(texts, top)

    def export(self, *backends: str, data: "Given | None" = None, max_length: int = 128) -> "Model":
        """Export to ONNX and to other backends, such as "int8", each checked against torch.

        data: texts like those it will read. Returns the model, which then answers by the export.
        """
        from alembert.data.sources import Source
        from alembert.data.splits import Files
        from alembert.export.export import export

        names: Sequence[str] = list(dict.fromkeys(("onnx", *given.texts("backends", backends))))
        export(
            str(self.folder),
            names,
            None if data is None else Files(train=Source(data, "data")),
            max_length,
        )
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

    evaluate = _of_model(deploy.evaluate, lambda model: model.folder)
    bench = _of_model(deploy.bench, lambda model: [str(model.folder)])
    report = _of_model(deploy.report, lambda model: [model.folder])
    serve = _of_model(serving.serve, lambda model: [str(model.folder)])

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the model, its tokenizer, card and exports to a folder, as transformers reads it."""
        from alembert.runs.folder.writing import export_model

        export_model(self.path, Path(folder))

    def save_vectors(self, folder: str | Path) -> None:
        """Save a static student's vectors as Model2Vec and sentence-transformers open them.

        Raises UserError for a model with layers, or with vectors of pairs of tokens.
        """
        from alembert.export.static import save_vectors

        save_vectors(str(self.folder), Path(folder))


@plain
def load(folder: str | Path) -> Model:
    """Return the model in a folder: a saved model, an exported one, or a run's student.

    Of a training with several seeds it is the one that was best on held-out texts.
    """
    return Model(best_of_seeds(folder))
