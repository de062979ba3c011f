"""The predictions of a run that kept none, made again from its models and files."""

from alembert.data import sources
from alembert.data.labels import find_columns
from alembert.data.splits import HUB, readable_texts
from alembert.data.tasks import encode, infer_task
from alembert.evaluation import predict
from alembert.evaluation.predictions import Predictions, predictions_of
from alembert.io.errors import UserError
from alembert.models.loading import label_names_of, load_config, load_model, load_tokenizer
from alembert.runs.record import RunRecord


def predict_again(run: RunRecord) -> Predictions:
    """A judgement made anew from the models and files of a run that kept none.

    Raises UserError that says what of them is gone.
    """
    files, student = run.files, run.student
    if not files or not (files["evaluation"] or files["task"]):
        raise UserError("the run was not judged: it had no --eval file")
    if student is None:
        raise UserError("the run has not made its student yet")
    source = run.found(files["evaluation"] or files["train"])
    if files["evaluation"] is None:
        rows = sources.glue(files["task"], None if files["train"] == HUB else source)["eval"]
    else:
        rows = sources.read(source, "test")
    columns = find_columns(rows, source, files["text"], files["text_pair"], files["label"])
    known = label_names_of(load_config(str(student)))
    task = infer_task(rows, columns, source, known, run.metrics.get("metric"), files["task"])
    tokenizer = load_tokenizer(str(student))
    data, logits = {}, {}
    for who, path in (("teacher", run.teacher), ("student", str(student))):
        if path is not None and (who == "student" or "teacher" in run.metrics):
            own = load_tokenizer(path)
            data[who] = encode(rows, task, columns, own, run.max_length, source)
            model, pad = load_model(path, task.kind), int(own.pad_token_id or 0)
            said = f"asking the {who} again"
            logits[who] = predict.predict(model, data[who], pad, progress=said)
    return predictions_of(task, readable_texts(rows, columns), data, logits, tokenizer)
