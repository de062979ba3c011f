"""A term of one's own, in a module outside the package: in recipes, in YAML, in a stage."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from support.models import tiny, words
from support.stages import stage
from transformers import BertConfig

from alembert.io.errors import UserError
from alembert.models.trace import Reads, Trace
from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.objectives.layer_terms import LayerTerm
from alembert.objectives.recorded import trace_spec
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe, from_yaml, replaced, to_yaml
from alembert.training.distillation import Distillation, check_layers

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT = """
from alembert.models.trace import Reads
from alembert.objectives.layer_terms import LayerTerm
from alembert.objectives.term import Term

class Wide(Term):
    def reads(self, pairs, corpus):
        return Reads(logits=True), Reads()
    def __call__(self, student, teacher, pairs, batch):
        return student.logits.square().mean()

class Values(LayerTerm):
    heads: int = 2
    def reads(self, pairs, corpus):
        return Reads(attention=frozenset({1})), Reads(attention=frozenset({1}))
    def __call__(self, student, teacher, pairs, batch):
        return (student.values[1] - teacher.values[1]).square().mean()

class Unfinished(Term):
    pass

class Alike(__import__("alembert").objectives.label_terms.SoftLabels):
    pass

def local():
    class Inner(Wide):
        pass
    return Inner
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules own (of examples/), mine and broken can be imported."""
    (tmp_path / "mine.py").write_text(TEXT)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "lacking.py").write_text("import no_such_package\n")
    for folder in (EXAMPLES, tmp_path):
        monkeypatch.syspath_prepend(folder)
    yield
    for name in ("own", "mine"):
        sys.modules.pop(name, None)


def recipe(kind: str, **fields: object) -> Recipe:
    """DistilBERT's, whose task stage has this term alone."""
    given = recipe_of("distilbert", BertConfig())
    task = replaced(given.stages[1], objective=({"kind": kind} | fields,))
    return replaced(given, stages=(given.stages[0], task))


def test_an_own_term_goes_to_yaml_and_comes_back(tmp_path: Path) -> None:
    from own import Contrastive

    named = recipe("own:Contrastive", weight=3.0, temperature=0.5)
    given = Contrastive(weight=3.0, temperature=0.5)
    held = replaced(named, stages=(replaced(named.stages[1], objective=(given,)),))
    assert type(named.stages[1].objective[0]) is Contrastive
    assert named.stages[1].objective == held.stages[0].objective
    for each in (named, held):
        (tmp_path / "r.yaml").write_text(to_yaml(each))
        assert from_yaml(tmp_path / "r.yaml") == each
    assert "kind: own:Contrastive\n    temperature: 0.5" in to_yaml(held)


def test_an_own_term_is_named_by_its_class_in_a_setting() -> None:
    changed = with_settings(
        recipe("own:Contrastive"), {"stages.task.objective.Contrastive.temperature": "2"}
    )
    assert changed.stages[1].objective[0].temperature == 2.0


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nowhere:Term", "nowhere cannot be imported .*: start the command in the folder that"),
        ("broken:Term", "broken cannot be imported .invalid syntax"),
        ("lacking:Term", "lacking cannot be imported .No module named 'no_such_package'"),
        ("mine:Nothing", "mine has no Nothing: fix the name"),
        ("mine:local", "is no class derived from alembert.Term"),
        ("pathlib:Path", "is no class derived from alembert.Term"),
        ("mine:", "write it as module:name"),
        ("mine.py:Wide", "cannot be imported"),
    ],
)
def test_a_kind_that_leads_to_no_term_is_refused_in_a_line(
    kind: str, says: str, tmp_path: Path
) -> None:
    text = to_yaml(recipe("own:Contrastive")).replace("own:Contrastive", f"'{kind}'")
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=f"r.yaml: stages.task.objective.0: kind .*{says}"):
        from_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("temperature: -1", r"objective.0.temperature: .*greater than 0 \(given: -1\)"),
        ("temprature: 1", "objective.0.temprature: there is no such field"),
        ("weight: 0", r"objective.0.weight: .*greater than 0 \(given: 0\)"),
        ("weight: .nan", "objective.0.weight: .*finite"),
    ],
)
def test_a_wrong_field_of_an_own_term_is_refused_as_one_of_a_built_in_term(
    field: str, says: str
) -> None:
    for kind in ("own:Contrastive", "SoftLabels"):
        setting = {"stages.task.objective": f"[{{kind: {kind}, {field}}}]"}
        with pytest.raises(UserError, match=says.replace("0.", "0.(SoftLabels.)?")):
            with_settings(recipe("SoftLabels"), setting)


def test_a_class_that_no_name_leads_to_is_refused() -> None:
    from mine import Alike, Unfinished, local

    with pytest.raises(UserError, match="Inner: is not at the top of its module"):
        local()()
    with pytest.raises(UserError, match="Alike: is a SoftLabels by its kind: derive it from Term"):
        Alike()
    with pytest.raises(TypeError, match="abstract"):
        Unfinished()
    with pytest.raises(ValidationError, match="mine:Wide: is another class than own:Contrastive"):
        recipe("own:Contrastive").stages[1].objective[0].model_validate({"kind": "mine:Wide"})


def test_what_a_stage_needs_follows_from_what_an_own_term_reads() -> None:
    wide, near = (recipe(kind).stages[1] for kind in ("mine:Wide", "own:Contrastive"))
    assert (wide.imitates, wide.reads_logits) == (False, True)
    assert (near.imitates, near.reads_logits) == (True, False)
    corpus = replaced(wide, data="corpus", until=None, steps=1)
    assert corpus.head("classification") == "words"
    on_corpus = replaced(near, data="corpus", until=None, steps=1)
    assert on_corpus.head("classification") == "encoder"


def test_the_value_of_an_own_term_is_the_one_worked_out_by_hand() -> None:
    """Two texts, orthogonal vectors: each is at its teacher, so the loss is log(1 + e^-1/T)."""
    term = recipe("own:Contrastive", temperature=0.5).stages[1].objective[0]
    vectors = torch.eye(2)[:, None]
    mask = torch.ones(2, 1, dtype=torch.long)
    at = Trace(hidden={2: vectors * 3})
    value = term(at, at, ((2, 2),), {"attention_mask": mask})
    assert float(value) == pytest.approx(0.126928, abs=1e-6)


def test_an_own_term_is_computed_beside_built_in_ones_with_what_they_read() -> None:
    batch = {**words(4), "labels": torch.tensor([0, 1, 1, 0])}
    student, teacher = tiny("bert", "classification"), tiny("bert", "classification", seed=1)
    own = recipe("own:Contrastive", weight=2.0).stages[1].objective[0]
    module = Distillation(student, teacher, (own, HardLabels()), words=False)
    assert module.reads == (Reads(hidden=frozenset({2}), logits=True), Reads(hidden=frozenset({2})))
    loss, values = module(batch)
    assert list(values) == ["own:Contrastive", "HardLabels"]
    torch.testing.assert_close(loss, 2 * values["own:Contrastive"] + values["HardLabels"])


def test_an_own_term_of_values_has_them_in_a_cached_trace() -> None:
    (own,) = recipe("mine:Values").stages[1].objective
    reads = own.reads((), True)[1]
    assert isinstance(own, LayerTerm)
    assert trace_spec((own,), reads).attention == ("queries", "keys", "values")
    assert trace_spec((SoftLabels(),), Reads()).attention == ()


def test_an_own_term_of_attention_needs_an_architecture_that_is_known() -> None:
    objective = stage(recipe("mine:Values").stages[1].objective).objective
    known, unknown = BertConfig(), BertConfig()
    unknown.model_type = "never-heard-of"
    check_layers(known, known, objective, "none")
    with pytest.raises(UserError, match=r"compares attention \(mine:Values\) with a 'never-heard"):
        check_layers(known, unknown, objective, "none")


def test_hidden_states_of_two_widths_need_projections() -> None:
    objective = recipe("own:Contrastive").stages[1].objective
    student = BertConfig(hidden_size=384)
    with pytest.raises(UserError, match="set the recipe's projections to 'layer' or 'shared'"):
        check_layers(student, BertConfig(), objective, "none")
    check_layers(student, BertConfig(), objective, "shared")
