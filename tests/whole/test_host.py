"""A library changes nothing in the process that uses it: threads, environment, warnings, bars."""

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import saved
from transformers import BertTokenizerFast
from transformers.utils import logging as transformers_logging

from alembert.export.torch_session import torch_session
from alembert.inference import Session
from alembert.models.building import draw_model
from alembert.models.loading import load_config, load_model


def state() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "filters": list(warnings.filters),
        "bars": transformers_logging.is_progress_bar_enabled(),
        "level": logging.getLogger("transformers").level,
    }


def test_models_and_sessions_leave_the_host_as_it_was(
    classifier: Path, tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.enable_progress_bar()
    try:
        before = state()
        Session(classifier).predict("good film")
        path = saved(tmp_path / "m", tokenizer, "classification")
        torch_session(path, before["threads"] + 1).predict("good film")
        load_model(path, "classification")
        draw_model(load_config(path), "classification", 0)
        assert state() == before
    finally:
        if not bars:
            transformers_logging.disable_progress_bar()


def test_torch_computes_on_the_threads_that_a_session_was_given(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = saved(tmp_path / "m", tokenizer, "classification"), list[int]()
    session = torch_session(path, torch.get_num_threads() + 1)
    before, model = torch.get_num_threads(), session.engine._model  # type: ignore[attr-defined]
    model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    session.predict("good film")
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
