"""Successive halving over candidates, as a study of Optuna's (Jamieson and Talwalkar 2016)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from alembert.search.choice import KEPT, ranked, stay

Train = Callable[[str, int], float]  # candidate, steps -> its held-out value
CANDIDATE = "candidate"


class Halving(optuna.pruners.BasePruner):
    """Prunes what is not among the best third of all that reached the same steps.

    Optuna's own SuccessiveHalvingPruner compares with those that came before alone, so that the
    first one always stays.
    """

    def __init__(self, ms: Mapping[str, float], share: float | None) -> None:
        self._ms, self._share = ms, share

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        values = {
            each.params[CANDIDATE]: each.intermediate_values[step]
            for each in study.get_trials(deepcopy=False)
            if step in each.intermediate_values
        }
        best = ranked(values, self._ms, self._share)[: stay(len(values))]
        return trial.params[CANDIDATE] not in best


def halve(
    names: Sequence[str],
    ms: Mapping[str, float],
    share: float | None,
    train: Train,
    steps: int,
    journal: Path,
) -> list[dict[str, float]]:
    """Rungs of KEPT times the steps until one candidate is left; held-out values of each rung.

    The study is written anew into `journal`: what was trained before, `train` knows.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.unlink(missing_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.RandomSampler(seed=0), pruner=Halving(ms, share),
        direction="maximize", study_name=journal.stem,
    )  # fmt: skip
    trials: dict[str, Trial] = {}
    for name in names:
        study.enqueue_trial({CANDIDATE: name})
        trials[name] = study.ask()
        trials[name].suggest_categorical(CANDIDATE, list(names))
    rungs: list[dict[str, float]] = []
    while len(trials) > 1:
        rungs.append({name: train(name, steps) for name in trials})
        for name, value in rungs[-1].items():
            trials[name].report(value, steps)
        for name in [name for name, trial in trials.items() if trial.should_prune()]:
            study.tell(trials.pop(name), state=TrialState.PRUNED)
        steps *= KEPT
    for name, trial in trials.items():
        study.tell(trial, rungs[-1][name] if rungs else 0.0)
    return rungs
