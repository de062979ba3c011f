"""What a person holds in Python: one function for each kind of training, and the model that it
returns.

Read `train` first: `finetune`, `distill`, `tune` and `search`, which the verbs of the command line
call. `options` has the keywords that they share. `model` has `Model`, the folder of a saved model
or a run, with its metrics, predictions and export; `load` opens one.

For other rooms: train, options, model, finetune, distill, tune, search, load, Model.
"""

from alembert.api.model import Model, load
from alembert.api.train import distill, finetune, search, tune

__all__ = ["Model", "distill", "finetune", "load", "search", "tune"]
