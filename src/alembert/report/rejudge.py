"""Predictions of a run that has saved none, computed again from its models and files."""

from alembert.data import sources
from alembert.data.labels import find_columns
from alembert.data.splits import readable_texts
from alembert.data.tasks import encode, infer_task
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
    source = run.resolved(files["evaluation"] or files["train"])
    if files["evaluation"] is None:
        rows = sources.glue(files["task"], None if files["train"] == sources.HUB else source)[
            "eval"
        ]
    else:
        rows = sources.read(source, "test")
    columns = find_columns(rows, source, files["text"], files["text_pair"], files["label"])
    known = label_names_of(load_config(str(student)))
    task = infer_task(rows, columns, source, known, run.metrics.get("metric"), files["task"])
    tokenizer = load_tokenizer(str(student))
    data, logits = {}, {}
    for role, path in (("teacher", run.teacher), ("student", str(student))):
        if path is not None and (role == "student" or "teacher" in run.metrics):
            encoder = load_tokenizer(path)
            data[role] = encode(rows, task, columns, encoder, run.max_length, source)
            model, pad = load_model(path, task.kind), int(encoder.pad_token_id or 0)
            progress = f"predicting again, {role}"
            logits[role] = predict.predict(model, data[role], pad, progress=progress)
    return predictions_of(task, readable_texts(rows, columns), data, logits, tokenizer)
