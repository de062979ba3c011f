"""Whether the hub answers is asked now and then, and leaves the host's own loading as it was."""

import time
import urllib.error
from typing import Any

import datasets
import pytest

from alembert.data import sources
from alembert.io import hub
from alembert.io.errors import UserError


def test_a_network_that_comes_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, clock = iter([False, True]), [0.0]
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "_seen", {})
    monkeypatch.setattr(hub, "_answers", lambda _: next(outcomes))
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert [hub.reachable(), hub.reachable()] == [False, False]
    clock[0] += hub.REMEMBERED + 1
    assert hub.reachable()


def test_an_error_of_the_hub_is_an_answer_and_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, expected in (
        (urllib.error.HTTPError("u", 403, "no", {}, None), True),  # type: ignore[arg-type]
        (urllib.error.URLError("no route"), False),
    ):

        def fails(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(hub, "urlopen", fails)
        assert hub._answers("https://huggingface.co") is expected


def test_after_a_data_set_was_sought_offline_the_host_is_online_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def load(*_: object, **__: object) -> None:
        seen.append(datasets.config.HF_HUB_OFFLINE)
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "reachable", lambda: False)
    monkeypatch.setattr(sources, "load_dataset", load)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        sources.read("someone/something")
    assert seen == [True]
    assert datasets.config.HF_HUB_OFFLINE is False
