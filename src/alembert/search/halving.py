"""Successive halving of candidates as an Optuna study (Jamieson and Talwalkar 2016)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from alembert.search.choice import REDUCTION, ranked, survivors

Train = Callable[[str, int], float]  # candidate, steps -> its held-out value
CANDIDATE = "candidate"


class Halving(optuna.pruners.BasePruner):
    """Prunes trials that are not among the best third of all that reached the same steps.

    Optuna's SuccessiveHalvingPruner compares with earlier trials alone and never prunes the first.
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
        best = ranked(values, self._ms, self._share)[: survivors(len(values))]
        return trial.params[CANDIDATE] not in best


def halve(
    names: Sequence[str],
    ms: Mapping[str, float],
    share: float | None,
    train: Train,
    steps: int,
    journal: Path,
) -> list[dict[str, float]]:
    """Train rungs of growing length until one candidate is left; return each rung's values.

    The study is always written anew to `journal`; `train` skips trainings that have a record.
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
        steps *= REDUCTION
    for name, trial in trials.items():
        study.tell(trial, rungs[-1][name] if rungs else 0.0)
    return rungs
