"""The experiments on quality: which models are compared, each a recipe and its settings.

An arm is one model, made by one command of alembert. An experiment is arms on tasks, with seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from alembert.recipes.stages import TEACHER as TEACHER_LENGTH

LAYERS, WIDTH = 6, 384  # of the pretrained model
Settings = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One model. teacher: "teacher" is the task's. start: the saved model that it starts from.

    Other names are those of arms on the corpus, or "pretrained".
    """

    name: str
    recipe: str
    teacher: str | None = "teacher"
    start: str | None = None
    mlm: str | None = None  # varies the texts
    data: Literal["task", "corpus"] = "task"
    layers: int | None = None
    hidden_size: int | None = None
    vocabulary: str | None = None
    share: float = 1.0  # of the rows of train that keep their labels
    settings: Settings = field(default_factory=dict)
    by_task: Mapping[str, Settings] = field(default_factory=dict)  # after `settings`
    label: str = ""  # in the tables
    of_pairs: str = ""  # the recipe on tasks of two texts, where it is another one
    undistilled: bool = False  # the same student is trained without its teacher, too
    windows: bool = False  # long texts are read in windows


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Arms on tasks. valid: valid.csv chooses; else the slice of train that a run holds out."""

    arms: tuple[Arm, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    teacher: Arm
    teacher_seed: int | None = None  # one teacher for all seeds; None: each has its own
    valid: bool = True
    base: bool = False  # starts from weights of 12 layers x 768, which are fetched


HARD = {"stages.task.objective": "[{kind: HardLabels}]"}
# where the recipes' own epochs would take hours on two cores
EPOCHS = {
    "sst2": {"stages.task.epochs": "1"},
    "snips": {"stages.task.epochs": "2"},
    "clinc150": {"stages.task.epochs": "4"},
}
TEACHER = Arm(name="teacher", recipe="finetune", teacher=None, start="pretrained", by_task=EPOCHS)


def pair(layers: int, share: float = 1.0) -> tuple[Arm, Arm]:
    """A distilled student, and the same network on hard labels only, from pretrained layers."""
    name = f"{layers}-layers" + (f"-{share:.0%}" if share < 1 else "")
    student = Arm(
        name=f"{name}-distilled", recipe="distilbert", layers=layers, share=share, by_task=EPOCHS
    )
    alone = replace(student, name=f"{name}-alone", teacher="pretrained", settings=HARD)
    if share == 1:
        return student, alone
    # its few labels are read often enough
    often = {"stages.task.epochs": "3", "stages.task.min_steps": "800"}
    return student, replace(alone, settings=HARD | often, by_task={})


def on_corpus(name: str, recipe: str, steps: Settings, batch: int, tokens: int, **of: Any) -> Arm:
    """An arm on the corpus: steps of each stage, sequences of a step, tokens of a sequence."""
    settings = {f"stages.{stage}.steps": number for stage, number in steps.items()}
    sizes = {"batch_size": batch, "micro_batch_size": batch, "max_length": tokens}
    settings |= {f"stages.*.{field}": str(size) for field, size in sizes.items()}
    return Arm(name=name, recipe=recipe, data="corpus", settings=settings, **of)


def masked_words(name: str, steps: int, tokens: int) -> Arm:
    """The pretrained model with a masked-word head."""
    return on_corpus(
        name, "finetune", {"general": str(steps)}, 64, tokens, teacher=None, start="pretrained"
    )


# TinyBERT, 4 layers of 192: every arm has the same number of steps, "long" four times as many
TINY_STEPS = {"stages.intermediate.steps": "1000", "stages.prediction.steps": "1500"}
ALL_STEPS = {"stages.intermediate": "null", "stages.prediction.steps": "2500"}
PLAIN = ALL_STEPS | {"augment": "null", "stages.prediction.objective": "[{kind: HardLabels}]"}
TOKENS = {
    task: {"stages.*.max_length": str(length)}
    for task, length in {"sst2": 64, "mrpc": 128, "stsb": 128, "clinc150": 64}.items()
}
TINY = Arm(
    name="4x192-everything", recipe="tinybert", layers=4, hidden_size=192, start="general-4x192",
    mlm="words", settings=TINY_STEPS, by_task=TOKENS, label="everything",
)  # fmt: skip
NEITHER = replace(
    TINY, name="4x192-neither", start=None, mlm=None, settings=TINY_STEPS | {"augment": "null"},
    label="neither general distillation nor augmentation",
)  # fmt: skip
TINY_ARMS = (
    TINY,
    replace(TINY, name="4x192-long", label="everything, 10,000 steps",
            settings={name: f"{4 * int(steps)}" for name, steps in TINY_STEPS.items()}),
    replace(TINY, name="4x192-no-augmentation", label="no augmentation", mlm=None,
            settings=NEITHER.settings),
    replace(TINY, name="4x192-no-intermediate", label="no intermediate stage", settings=ALL_STEPS),
    replace(TINY, name="4x192-no-general", label="no general distillation", start=None),
    NEITHER,
    replace(NEITHER, name="4x192-units", label="neither, started from the teacher's units",
            settings={**NEITHER.settings, "init.basis": "units"}),
    replace(NEITHER, name="4x192-scratch", label="neither, started at random",
            settings={**NEITHER.settings, "init.start": "scratch"}),
    replace(NEITHER, name="4x192-plain", label="plain fine-tuning of the same network",
            teacher="pretrained", settings=PLAIN),
    replace(NEITHER, name="4x192-drawn", teacher="pretrained",
            settings=PLAIN | {"init.start": "scratch"},
            label="plain fine-tuning of the same network, drawn at random"),
)  # fmt: skip

# MobileBERT by three strategies of transfer with one budget of steps on the corpus: in all but
# "auxiliary" half of them are transfer, half pre-training distillation
STRATEGIES = {
    "progressive": "mobilebert",
    "joint": "mobilebert-joint",
    "auxiliary": "mobilebert-auxiliary",
}


def transfers(prefix: str, teacher: str, steps: int, batch: int = 64) -> tuple[Arm, ...]:
    """The three strategies on a corpus, so many steps in all."""
    each = steps // 2 // LAYERS
    shares = {
        "progressive": {"transfer-*": each, "pretraining": steps - LAYERS * each},
        "joint": {"transfer": steps // 2, "pretraining": steps - steps // 2},
        "auxiliary": {"pretraining": steps},
    }
    return tuple(
        on_corpus(
            prefix + name, recipe, {stage: str(n) for stage, n in shares[name].items()}, batch, 64,
            teacher=teacher,
        )
        for name, recipe in STRATEGIES.items()
    )  # fmt: skip


def mobile(name: str, label: str, steps: int | None = 750, **changes: Any) -> Arm:
    """A MobileBERT on a task, so many steps of each stage; None: the recipe's own length."""
    length = {} if steps is None else {
        f"stages.{stage}.steps": str(steps) for stage in ("intermediate", "task")
    }  # fmt: skip
    settings = length | changes.pop("settings", {})
    return Arm(
        name=f"mobile-{name}", recipe="mobilebert", label=label, settings=settings, **changes
    )


def transferred(prefix: str, label: str, steps: int | None = 750, end: str = "") -> tuple[Arm, ...]:
    return tuple(
        mobile(f"{prefix}{name}{end}", f"{name} transfer{label}", steps, start=prefix + name)
        for name in STRATEGIES
    )


def alone(rate: str, steps: int = 750, end: str = "", hidden_size: int | None = None) -> Arm:
    """The network without any of it, on hard labels only."""
    settings = HARD | {
        "stages.intermediate": "null", "stages.task.steps": str(steps),
        "stages.task.learning_rate": rate,
    }  # fmt: skip
    return mobile(
        f"alone-{rate}{end}" if hidden_size is None else f"ib-alone-{rate}{end}",
        f"the same network, fine-tuned alone at {rate}",
        None, teacher="pretrained", hidden_size=hidden_size, settings=settings,
    )  # fmt: skip


FASTER = {"stages.task.learning_rate": "3e-4"}
WIDER = {"student.intra_bottleneck_size": "192", "student.intermediate_size": "768"}
MOBILE_ARMS = (
    *transferred("", ""),
    *transferred("long-", ", five times the tokens"),
    *transferred("long-", ", that and the recipe's own epochs on the task", None, "-whole"),
    *transferred("ib-", ", through an IB-BERT"),
    mobile("start", "no corpus: layers fitted at the start"),
    mobile("start-3e-4", "the same, answers at 3e-4", settings=FASTER),
    mobile("start-variants", "no corpus, variants of the texts", mlm="words",
           settings={"augment": "{}"}),
    mobile("start-192", "no corpus, 192 wide inside", settings=WIDER),
    mobile("start-whole", "no corpus, the recipe's own epochs", None),
    alone("1e-4"),
    alone("3e-4"),
    replace(alone("3e-4", hidden_size=256), label=""),  # the network of the IB-BERT's students
)  # fmt: skip
# a third of the tokens and of the steps on the task, answers at the rate that the recipe had then
BRIEF_ARMS = tuple(
    replace(arm, settings={**arm.settings, **FASTER})
    for arm in (
        *transferred("brief-", "", 250, "-250"),
        mobile("start-250", "no corpus: layers fitted at the start", 250),
        alone("3e-4", 250, "-250"),
    )
)

# MiniLM: students of 3 layers x 384 from three recipes' general distillation, all of them BERTs
# with token types, then fine-tuned on hard labels alone, all alike; "none": every second layer
GENERAL = {"distilbert": "distilbert-pairs", "tinybert": "tinybert", "minilm": "minilm"}
THREE = tuple(
    on_corpus(
        f"three-{name}", recipe, {"general": "150"}, 64, 128, teacher="words", layers=3,
        hidden_size=WIDTH,
    )
    for name, recipe in GENERAL.items()
)  # fmt: skip
AS_A_TEACHER = HARD | {
    "stages.task.learning_rate": "1e-4",
    "stages.task.until": TEACHER_LENGTH.model_dump_json(),
}
MINILM_ARMS = (
    *(replace(TEACHER, name=arm.name, start=arm.name, label=arm.name[6:]) for arm in THREE),
    Arm(name="three-none", recipe="distilbert-pairs", teacher="pretrained", layers=3,
        settings=AS_A_TEACHER, by_task=EPOCHS, label="none"),
)  # fmt: skip

# a user who names no setting
BARE = replace(TEACHER, by_task={})
BARE_ARMS = tuple(
    Arm(name=name, recipe=name) for name in ("distilbert", "tinybert", "mobilebert", "minilm")
)

# texts of about 140 tokens, of which 48 are read at once
SHORT = Arm(name="distilbert-3", recipe="distilbert", settings={"stages.*.max_length": "48"})

# what a user gets who names a recipe, or none, and no setting; each beside itself undistilled
BEST_ARMS = (
    Arm(name="house", recipe="house", undistilled=True),
    Arm(name="distilbert-3", recipe="distilbert", of_pairs="distilbert-pairs", undistilled=True),
    Arm(name="tinybert-4x192", recipe="tinybert", layers=4, hidden_size=192, undistilled=True),
    Arm(name="mobilebert", recipe="mobilebert", undistilled=True),
    Arm(name="mobilebert-corpus", recipe="mobilebert", start="progressive"),
)

# the papers' own sizes, of a teacher of 12 layers x 768; variants of SST-2 would take days
PLAIN_SST2 = {"sst2": {"augment": "null"}}
BASE_ARMS = (
    Arm(name="distilbert-6x768", recipe="distilbert", of_pairs="distilbert-pairs"),
    Arm(name="tinybert-4x312", recipe="tinybert", by_task=PLAIN_SST2),
    Arm(name="tinybert-6x768", recipe="tinybert6", by_task=PLAIN_SST2),
    Arm(name="mobilebert-12", recipe="mobilebert", by_task=PLAIN_SST2),
    Arm(name="house-4x384", recipe="house", layers=4, hidden_size=384, by_task=PLAIN_SST2),
    Arm(name="static", recipe="static"),
)

CORPUS = {
    arm.name: arm
    for arm in (
        masked_words("words", 400, 128),
        masked_words("words-short", 400, 64),
        masked_words("words-brief", 200, 64),
        on_corpus("inverted", "ibbert", {"*": "100"}, 64, 64, teacher="words-short"),
        on_corpus("general-4x192", "tinybert", {"general": "400"}, 64, 128, teacher="words",
                  layers=4, hidden_size=192),
        *transfers("", "words-short", 200),
        *transfers("long-", "words-short", 1000),
        *transfers("ib-", "inverted", 200),
        *transfers("brief-", "words-brief", 120, 32),
        *THREE,
    )
}  # fmt: skip
EXPERIMENTS = {
    "distilbert": Experiment(
        arms=pair(3), tasks=("sst2", "snips", "clinc150", "mrpc", "stsb"), teacher=TEACHER
    ),
    "distilbert-grid": Experiment(
        arms=tuple(arm for share in (1.0, 0.1, 0.01) for n in (3, 2, 1) for arm in pair(n, share)),
        tasks=("sst2",), seeds=(0,), teacher=TEACHER,
    ),
    "tinybert": Experiment(
        arms=TINY_ARMS, tasks=("sst2", "mrpc", "stsb", "clinc150"), teacher=TEACHER
    ),
    "mobilebert": Experiment(
        arms=MOBILE_ARMS, tasks=("sst2", "mrpc", "clinc150"), seeds=(0,), teacher=TEACHER
    ),
    "mobilebert-brief": Experiment(
        arms=BRIEF_ARMS, tasks=("sst2", "mrpc", "clinc150"), seeds=(0,), teacher=TEACHER
    ),
    "minilm": Experiment(
        arms=(TEACHER, *MINILM_ARMS), tasks=("sst2", "mrpc", "clinc150"), seeds=(0,),
        teacher=TEACHER,
    ),
    "vocabulary": Experiment(
        arms=tuple(
            replace(NEITHER, name=f"vocabulary-{kept or 'all'}", vocabulary=kept)
            for kept in (None, "task")
        ),
        tasks=("clinc150",), seeds=(0, 1), teacher=TEACHER,
    ),
    "length": Experiment(
        arms=(BARE, *BARE_ARMS), tasks=("sst2-600", "mrpc", "stsb", "clinc150"), teacher=BARE,
        teacher_seed=0, valid=False,
    ),
    "best": Experiment(
        arms=BEST_ARMS, tasks=("mrpc", "stsb", "snips-intents", "snips", "clinc150", "sst2"),
        teacher=BARE, valid=False,
    ),
    "base": Experiment(
        arms=BASE_ARMS, tasks=("mrpc", "stsb", "clinc150", "sst2"), seeds=(0,), teacher=BARE,
        valid=False, base=True,
    ),
    "questions": Experiment(
        arms=tuple(arm for arm in BEST_ARMS if arm.undistilled), tasks=("policyqa",), teacher=BARE,
        valid=False,
    ),
    **{
        f"joined-{how}": Experiment(
            arms=(replace(SHORT, windows=how == "windows"),), tasks=("joined",),
            teacher=replace(BARE, settings=SHORT.settings, windows=how == "windows"), valid=False,
        )
        for how in ("cut", "windows")
    },
    "teachers": Experiment(
        arms=(BARE, replace(BARE, name="plain", settings={"stages.linear": "null"})),
        tasks=("mrpc", "stsb", "snips-intents", "snips", "clinc150", "sst2"), teacher=BARE,
        valid=False,
    ),
}  # fmt: skip
