"""Predictions of a run that has saved none, computed again from its models and files."""

from alembert.data.forms import Form
from alembert.data.sources import HUB
from alembert.data.splits import Files
from alembert.data.tasks import encode, infer_task
from alembert.data.texts.raw import readable_texts
from alembert.evaluation import predict
from alembert.evaluation.predictions import Predictions, predictions_of
from alembert.io.errors import UserError
from alembert.models.loading import label_names_of, load_config, load_model, load_tokenizer
from alembert.runs.record import RunRecord


def predict_again(run: RunRecord) -> Predictions:
    """Return the predictions of a run's models on the file that it was evaluated on.

    Raises UserError that names the model or file that is missing.
    """
    files, student = run.files, run.student
    if not files or not (files["evaluation"] or files["task"]):
        raise UserError("the run was not evaluated: it had no --eval file")
    if student is None:
        raise UserError("the run has not made its student yet")
    train = files["train"] if files["train"] == HUB else run.resolved(files["train"])
    evaluation = files["evaluation"] and run.resolved(files["evaluation"])
    given = Files(
        train=train, evaluation=evaluation, task=files["task"], text=files["text"],
        text_pair=files["text_pair"], label=files["label"], kind=files.get("kind"),
        fix_offsets=files.get("fix_offsets", False), skip_bad_rows=files.get("skip_bad_rows", 0),
        windows=bool(files.get("windows")),
    )  # fmt: skip
    assert given.test is not None
    source, known = given.test.name, label_names_of(load_config(str(student)))
    read = given.labelled(given.test, known, Form(kind=run.metrics.get("task")))
    rows, columns = read.rows, read.columns
    task = infer_task(
        rows, columns, source, read.known, run.metrics.get("metric"), files["task"], lenient=True
    )
    tokenizer = load_tokenizer(str(student))
    data, logits = {}, {}
    for role, path in (("teacher", run.teacher), ("student", str(student))):
        if path is not None and (role == "student" or "teacher" in run.metrics):
            encoder = load_tokenizer(path)
            data[role] = encode(
                rows, task, columns, encoder, run.max_length, source, lenient=True,
                windows=given.windows,
            )  # fmt: skip
            model, pad = load_model(path, task.kind), int(encoder.pad_token_id or 0)
            title = f"predicting again, {role}"
            logits[role] = predict.predict(model, data[role], pad, title=title)
    return predictions_of(task, readable_texts(rows, columns), data, logits, tokenizer)
