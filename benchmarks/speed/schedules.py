"""How long the papers' schedules take on 1, 8 and 64 GPUs, from operations counted per token.

    python -m benchmarks.speed.schedules --out results/several/schedules.json

Computed, not measured. A multiply-add is two operations; counted are matrix products: of the
layers that a stage's objective makes run, attention, heads at the rows that count, projections,
attention scores that are compared. A student costs three times its forward pass. A GPU is taken to
do SHARE of PEAK, GPUs to add up, a word to be TOKENS_A_WORD pieces.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForMaskedLM, BertConfig, PreTrainedConfig, PreTrainedModel

from alembert.models.architectures import anatomy, attention_width, depth, layers, vocabulary_matrix
from alembert.models.building import config_of
from alembert.models.ibbert import IBBertConfig
from alembert.models.trace import Reads
from alembert.objectives import objective as terms
from alembert.recipes import recipe_of
from alembert.recipes.schema import Recipe, Stage
from benchmarks.lab.results import Row, arguments, write
from benchmarks.lab.tables import Cell, markdown

PEAK, SHARE = 989e12, 0.4  # H100, bf16 without sparsity
TOKENS_A_WORD = 1.3
WORDS = {"Wikipedia and books": 3.3e9, "Wikipedia": 2.5e9}
BERT_BASE = BertConfig()


def schedules() -> list[tuple[str, PreTrainedConfig, str, str, int, float]]:
    """(name, teacher, recipe, stages, tokens a sequence, tokens read by these stages together)."""
    books, wiki = (3 * TOKENS_A_WORD * words for words in WORDS.values())
    step = 2048 * 512
    large = IBBertConfig()
    return [
        ("DistilBERT, general", BERT_BASE, "distilbert", "general", 512, books),
        ("TinyBERT4, general", BERT_BASE, "tinybert", "general", 128, wiki),
        ("TinyBERT6, general", BERT_BASE, "tinybert6", "general", 128, wiki),
        ("MobileBERT, transfer 1 to 24", large, "mobilebert", "transfer-", 512, 240e3 * step),
        ("MobileBERT, pre-training", large, "mobilebert", "pretraining", 512, 500e3 * step),
    ]


def empty(config: PreTrainedConfig) -> PreTrainedModel:
    """A model with a masked-word head and without memory."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)
    return model


def products(module: nn.Module) -> int:
    """Operations per token of a module's Linears, each called once."""
    return sum(2 * part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def forward(model: PreTrainedModel, reads: Reads, tokens: int, masked: float) -> float:
    """Operations per token of a forward pass that leaves what is read."""
    blocks = layers(model, "")
    run = len(blocks) if reads.vocabulary else reads.deepest
    width = attention_width(model.config)
    total = products(model.base_model.get_submodule("embeddings"))
    total += sum(products(block) + 4 * tokens * width for block in blocks[:run])
    total += len(reads.attention) * 2 * tokens * width  # scores, made once more to be compared
    rows = {"": 0.0, "masked": masked, "all": 1.0}[reads.vocabulary]
    first, *_ = anatomy(model.config, "").transform
    weight, _ = vocabulary_matrix(model)
    return total + rows * (products(model.get_submodule(first)) + 2 * weight.numel())


def of_stage(recipe: Recipe, stage: Stage, teacher: PreTrainedConfig, tokens: int) -> list[float]:
    """Operations per token of a step: of the student, of the teacher."""
    student = config_of(recipe.student)
    reads = terms.reads(stage.objective, depth(student), depth(teacher), stage.data == "corpus")
    masked = stage.masking.share if stage.masking else 0.0
    mine = forward(empty(student), reads[0], tokens, masked)
    if recipe.projections != "none":
        mine += len(reads[0].hidden) * 2 * student.hidden_size * teacher.hidden_size
    return [3 * mine, forward(empty(teacher), reads[1], tokens, masked)]


def hours(gpus: int) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        found = row["hours"][gpus]
        return f"{found:,.2g}" if found < 10 else f"{found:,.0f}"

    return cell


def cost(row: Row) -> str:
    return f"{(row['student_flop_a_token'] + row['teacher_flop_a_token']) / 1e6:,.0f}"


COLUMNS: dict[str, Cell] = {
    "schedule": "{schedule}", "tokens": lambda row: f"{row['tokens'] / 1e9:,.1f}B",
    "MFLOP a token": cost,
    "tokens/s a GPU": lambda row: f"{row['tokens_per_second'] / 1e3:,.0f}k",
    "hours on 1": hours(1), "8": hours(8), "64": hours(64),
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows: list[Row] = []
    for name, teacher, recipe_name, prefix, tokens, read in schedules():
        recipe = recipe_of(recipe_name, teacher)
        stages = [stage for stage in recipe.stages if stage.name.startswith(prefix)]
        costs = [of_stage(recipe, stage, teacher, tokens) for stage in stages]
        mine, theirs = (sum(column) / len(costs) for column in zip(*costs, strict=True))
        speed = PEAK * SHARE / (mine + theirs)
        rows.append({
            "schedule": name, "tokens": read, "length": tokens, "student_flop_a_token": mine,
            "teacher_flop_a_token": theirs, "tokens_per_second": speed,
            "hours": {gpus: read / speed / gpus / 3600 for gpus in (1, 8, 64)},
        })  # fmt: skip
    assumed = {"peak_flop_per_second": PEAK, "share": SHARE, "tokens_a_word": TOKENS_A_WORD}
    write(given.out, {"assumed": assumed, "rows": rows})
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()
