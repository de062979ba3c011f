"""The budget of a search, and the student shapes that recipes allow for a teacher."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedConfig

from alembert.io.errors import UserError
from alembert.models.architectures import anatomy, inner_size
from alembert.recipes import recipe_of
from alembert.recipes.schema import Recipe, replaced

RECIPES = ("house", "static", "distilbert", "tinybert", "minilm", "mobilebert")
USUAL = RECIPES[:2]  # those of a search that names none
LAYERS = (1, 2, 3, 4, 6, 8, 12, 24)  # of students as wide as their teacher
FEWER = (2, 3, 4, 6)  # of narrower students
VOCABULARIES = ("task", "all")
SCORED = {"tinybert", "mobilebert"}  # recipes that compare attention scores
# recipes whose students may have any heads and inner size
RESHAPED = ("house", "tinybert", "minilm")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bounds for the student, and how much training its search may take."""

    max_latency_ms: float | None
    min_retention: float | None
    trials: int = 9  # candidates that are trained briefly
    steps: int = 100  # of the first rung
    epochs: float | None = None  # of the winner's stages; None: as in its recipe
    length: int | None = None  # tokens of the texts that are timed; None: as long as they are
    recipes: tuple[str, ...] = USUAL
    vocabularies: tuple[str, ...] = ("all",)
    min_speedup: float | None = None  # over the teacher in torch

    def __post_init__(self) -> None:
        if self.max_latency_ms is self.min_retention is self.min_speedup is None:
            raise UserError(
                "the search has no bound: give --max-latency-ms, --min-speedup or --min-retention"
            )
        for option, value in (
            ("--max-latency-ms", self.max_latency_ms), ("--epochs", self.epochs),
            ("--min-speedup", self.min_speedup),
            ("--trials", self.trials), ("--steps", self.steps), ("--length", self.length),
        ):  # fmt: skip
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{option} {value:g}: must be over 0, and a finite number")
        if self.min_retention is not None and not 0 < self.min_retention <= 1:
            raise UserError(
                f"--min-retention {self.min_retention:g}: a share, over 0 and at most 1 (0.97)"
            )

    def within(self, teacher_ms: float) -> "Budget":
        """Return the budget with min_speedup as milliseconds, given the teacher's."""
        if self.min_speedup is None:
            return self
        ms = teacher_ms / self.min_speedup
        if self.max_latency_ms is not None and self.max_latency_ms < ms:
            return replace(self, min_speedup=None)
        return replace(self, max_latency_ms=ms)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One student: its layers, hidden size, attention heads and feed-forward inner size.

    A static one has no layers and no heads, and its inner size is that of its head.
    """

    recipe: str
    layers: int
    hidden_size: int
    heads: int
    inner: int

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.layers}x{self.hidden_size}-h{self.heads}-f{self.inner}"

    @property
    def multiplications(self) -> int:
        """Those of a token with the matrices of all layers, which grow with what it can learn."""
        return self.layers * self.hidden_size * (4 * self.hidden_size + 2 * self.inner)

    def within(self, other: "Shape") -> bool:
        """Whether it is another shape of the same recipe that is larger in nothing."""
        mine = (self.layers, self.hidden_size, self.inner)
        others = (other.layers, other.hidden_size, other.inner)
        smaller = all(a <= b for a, b in zip(mine, others, strict=True))
        return smaller and self != other and self.recipe == other.recipe

    def recipe_for(self, teacher: PreTrainedConfig) -> Recipe:
        """Return its recipe on a task, without stages on a corpus."""
        wide = self.recipe.startswith("distilbert")
        sizes = {"layers": self.layers, "hidden_size": None if wide else self.hidden_size}
        recipe = recipe_of(self.recipe, teacher, **sizes)
        shape = {"num_attention_heads": self.heads, "intermediate_size": self.inner}
        student = recipe.student | (shape if self.recipe in RESHAPED else {})
        stages = tuple(stage for stage in recipe.stages if stage.data == "task")
        return replaced(recipe, student=student, stages=stages)


def grid(teacher: PreTrainedConfig, recipes: Sequence[str], pairs: bool) -> list[Shape]:
    """Return the shapes of these recipes, each family's shallowest first; pairs: of texts.

    Raises UserError for an unknown recipe, and for a teacher whose layers cannot be copied.
    """
    for name in recipes:
        if name not in RECIPES:
            raise UserError(f"--recipes {name}: choose among {', '.join(RECIPES)}")
    parts = anatomy(teacher, "searching a student")
    width, heads = int(teacher.hidden_size), int(teacher.num_attention_heads)
    unlike = SCORED - ({"tinybert"} if parts.distances else set()) if parts.relative else set()
    if refused := sorted(unlike & set(recipes)):
        raise UserError(
            f"--recipes {','.join(refused)}: compares attention scores, and those of a "
            f"'{teacher.model_type}' count relative positions: leave it out"
        )
    if not parts.copies:
        raise UserError(
            f"layers of a '{teacher.model_type}' of this build cannot be copied, and a search "
            "starts its students from them: distil one with --set init.start=scratch"
        )
    inner = inner_size(teacher)
    depth = int(teacher.num_hidden_layers)
    fewer = [n for n in FEWER if n <= depth] or [depth]
    half = max(width // 2 // heads, 1) * heads
    widths = sorted(
        {max(each // heads, 1) * heads for each in (width // 4, min(312, width), width // 2)}
    )
    shapes: list[Shape] = []
    if "house" in recipes:
        shapes += _house(teacher, widths, fewer)
    if "distilbert" in recipes:
        has_types = pairs and getattr(teacher, "type_vocab_size", 0) > 1
        name = "distilbert-pairs" if has_types else "distilbert"
        shapes += [
            Shape(recipe=name, layers=n, hidden_size=width, heads=heads, inner=inner)
            for n in LAYERS
            if n <= depth
        ]
    if "tinybert" in recipes:
        for each in widths:
            shapes += [_tiny(teacher, n, each) for n in fewer]
        shapes += [_tiny(teacher, n, half, thinner=2) for n in fewer]
    if "minilm" in recipes and heads % 2 == 0:
        wide = [_tiny(teacher, n, half) for n in fewer]
        shapes += [
            Shape(
                recipe="minilm", layers=s.layers, hidden_size=half, heads=heads // 2, inner=s.inner
            )
            for s in wide
        ]
    if "mobilebert" in recipes:
        for n in sorted({max(depth // 2, 1), depth}):
            student = recipe_of("mobilebert", teacher, layers=n).student
            size, inside = int(student["hidden_size"]), int(student["intermediate_size"])
            shapes.append(
                Shape(recipe="mobilebert", layers=n, hidden_size=size, heads=heads, inner=inside)
            )
    if "static" in recipes:
        student = recipe_of("static", teacher).student
        size, inside = int(student["hidden_size"]), int(student["neurons"])
        name = "static-pairs" if pairs else "static"
        shapes.append(Shape(recipe=name, layers=0, hidden_size=size, heads=0, inner=inside))
    if not shapes:
        raise UserError(
            f"--recipes {','.join(recipes)}: of a teacher of {heads} heads there is no such shape; "
            "name others"
        )
    return shapes


def _house(teacher: PreTrainedConfig, widths: Sequence[int], fewer: Sequence[int]) -> list[Shape]:
    """Return narrower students with a thin and a usual inner size, and those as wide as theirs."""
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    shapes: list[Shape] = []
    for each in widths:
        usual = replace(_tiny(teacher, 1, each), recipe="house")
        for inner in sorted({min(2 * each, usual.inner), usual.inner}):
            shapes += [replace(usual, layers=n, inner=inner) for n in sorted({1, *fewer})]
    wide = replace(_tiny(teacher, 1, width), recipe="house")
    return shapes + [replace(wide, layers=n) for n in LAYERS if n < depth]


def _tiny(teacher: PreTrainedConfig, layers: int, width: int, thinner: int = 1) -> Shape:
    student = recipe_of("tinybert", teacher, layers=layers, hidden_size=width).student
    heads, inner = int(student["num_attention_heads"]), int(student["intermediate_size"])
    return Shape(
        recipe="tinybert",
        layers=layers,
        hidden_size=width,
        heads=heads,
        inner=max(inner // thinner, 1),
    )
