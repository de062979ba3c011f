"""What a person holds in Python: one function for each verb, and the model that most return.

Read `train` first: `finetune`, `distill`, `tune`, `search` and `check`, which the verbs of the
command line call; `seeds` repeats a training. `options` has the keywords that they share, and
`given` turns what a person gives in Python into plain values. `model` has `Model`, the folder of a
saved model or a run, with its metrics, predictions and export; `load` opens one, and `hub` uploads
it. `deploy` evaluates, times, reports, exports, predicts and cleans; `comparing` has several models
side by side; `serving` answers over HTTP. `texts` has what comes before a training, `named_recipes`
the recipes, and `first_run` the quickstart. The command line parses, calls one of these functions,
and prints.

For other rooms: train, options, model, deploy, serving, texts, named_recipes, first_run, Model,
augment, bench, builtin_teacher, check, check_port, clean, compare, corpus, distill, evaluate,
export, finetune, load, name_for, open_session, predict, predict_file, predictor, quickstart,
recipe, recipes, report, search, serve, trim, tune.
"""

from alembert.api.comparing import compare
from alembert.api.deploy import (
    bench,
    clean,
    evaluate,
    export,
    open_session,
    predict,
    predict_file,
    predictor,
    report,
)
from alembert.api.first_run import builtin_teacher, quickstart
from alembert.api.model import Model, load
from alembert.api.named_recipes import recipe, recipes
from alembert.api.serving import check_port, name_for, serve
from alembert.api.texts import augment, corpus, trim
from alembert.api.train import check, distill, finetune, search, tune

__all__ = [
    "Model",
    "augment",
    "bench",
    "builtin_teacher",
    "check",
    "check_port",
    "clean",
    "compare",
    "corpus",
    "distill",
    "evaluate",
    "export",
    "finetune",
    "load",
    "name_for",
    "open_session",
    "predict",
    "predict_file",
    "predictor",
    "quickstart",
    "recipe",
    "recipes",
    "report",
    "search",
    "serve",
    "trim",
    "tune",
]
