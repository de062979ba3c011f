"""A teacher as one value: its config and tokenizer are read once, its weights when first needed."""

from functools import cached_property

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alembert.models import loading


class Teacher:
    """A saved model: a folder or a hub id, of which each part is loaded once.

    It holds its weights under one head at a time, until `release`; so a run never has two copies.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._held: tuple[str, PreTrainedModel] | None = None  # head, model

    def __str__(self) -> str:
        return self.path

    @cached_property
    def config(self) -> PreTrainedConfig:
        """The config. Raises UserError when there is none."""
        return loading.load_config(self.path)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer. Raises UserError when there is none."""
        return loading.load_tokenizer(self.path)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """The tokenizer's tokens and their ids."""
        return dict(self.tokenizer.get_vocab())

    @property
    def labels(self) -> list[str] | None:
        """The labels in the order of their ids; None without a task head."""
        return loading.label_names_of(self.config)

    def has_head(self, head: str) -> bool:
        """Return whether the saved weights hold the head."""
        held = self._held is not None and self._held[0] == head
        return held or loading.has_head(self.path, head)

    def model(self, head: str) -> PreTrainedModel:
        """Return the model with this head, in fp32 and on the CPU, as it was saved.

        It is loaded anew for another head, and where training has rounded its matrices. Raises
        UserError for a head that it lacks.
        """
        if self._held is None or self._held[0] != head or _rounded(self._held[1]):
            self.release()
            self._held = head, loading.load_model(self.path, head)
        model = self._held[1]
        torch.nn.Module.to(model, "cpu")
        model.eval()
        return model

    def release(self) -> None:
        """Let go of the weights, which are loaded again when they are needed again."""
        self._held = None


class Teachers(dict[str, Teacher]):
    """The teachers of a run by folder or hub id, each made when it is first named."""

    def __missing__(self, path: str) -> Teacher:
        return self.setdefault(path, Teacher(path))

    def release_others(self, path: str | None) -> None:
        """Let go of the weights of all teachers but this one."""
        for name, teacher in self.items():
            if name != path:
                teacher.release()


def _rounded(model: PreTrainedModel) -> bool:
    return any(parameter.dtype != torch.float32 for parameter in model.parameters())
