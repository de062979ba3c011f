"""A stage of hard labels, trained on four texts a step."""

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers import PreTrainedModel

from alembert.objectives.label_terms import HardLabels
from alembert.objectives.objective import Objective
from alembert.recipes.schema import Stage
from alembert.training.callbacks import Callbacks
from alembert.training.distillation import Distillation
from alembert.training.loop import Batches, train
from alembert.training.monitor import Validator, length_of

HARD = (HardLabels(),)
CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def stage(objective: Objective = HARD, **more: object) -> Stage:
    fields = {"name": "s", "data": "task", "steps": 1, "learning_rate": 1e-3} | more
    return Stage.model_validate(fields | {"objective": objective})


def rows(step: int) -> dict[str, Tensor]:
    """Four texts, one of them unlabelled."""
    ids = torch.randint(5, 99, (4, 6), generator=torch.Generator().manual_seed(step))
    mask = torch.ones_like(ids)
    mask[0, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, -100, 1, 1])}


def in_fp32() -> Accelerator:
    AcceleratorState._reset_state()  # another test of this process may have left its precision
    return Accelerator(mixed_precision="no", cpu=True)


def trained(
    model: PreTrainedModel,
    at: Stage,
    folder: Path,
    teacher: PreTrainedModel | None = None,
    batches: Batches = rows,
    validator: Validator | None = None,
    callbacks: Callbacks | None = None,
) -> None:
    module = Distillation(model, teacher, at.objective, words="masking" in at.model_fields_set)
    train(
        module, at, batches, length_of(at, 100), folder, seed=0, accelerator=in_fp32(),
        validator=validator, callbacks=callbacks,
    )  # fmt: skip
