"""Whatever a data file, a recipe, a setting or a model's folder holds: a refusal, or success.

benchmarks/robustness/fuzz.py throws the same for as long as is asked.
"""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from support import hostile, hostile_folders, hostile_models
from support.hostile import YAML, thrown
from transformers import BertTokenizerFast

ATTACKS = hostile.ATTACKS | hostile_models.ATTACKS | hostile_folders.ATTACKS


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_input_is_refused_in_a_line_or_read(
    name: str, tokenizer: BertTokenizerFast
) -> None:
    @settings(
        max_examples=12, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(ATTACKS[name].draws)
    def throws(drawn: Any) -> None:
        thrown(ATTACKS[name], drawn, tokenizer)

    throws()


def mapped() -> bytes:
    """Parquet with a column of a type that datasets does not know."""
    held = io.BytesIO()
    pq.write_table(
        pa.table({"text": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))}), held
    )
    return held.getvalue()


def half_words() -> bytes:
    """Parquet with text on one side of a pair and words on the other."""
    held = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"], "sentence2": [["b", "c"]], "sentence1": ["0"]}), held)
    return held.getvalue()


# what benchmarks/robustness/fuzz.py found, shrunk
FOUND = [
    ("parquet", (half_words(), {"text": None, "text_pair": None, "label": "sentence1"}, None, "")),
    ("recipe", YAML.replace(b"model_type: bert", b"model_type: .inf")),
    ("glue", ("cola", b"unacceptable\t\t", b"")),
    ("settings", ("distilbert", {"\n": ""})),
    ("parquet", (mapped(), {}, None, "")),
    ("recipe", b"a: 0x_"),
    ("recipe", b'name: "\\ud83d"'),
    ("settings", ("distilbert", {"name": "!!bool x"})),
    ("jsonl", (b'{"text": "\\ud83d", "label": "up"}\n' * 4, {}, None, "")),
    ("json", (b"[" * 10_000, {}, None, "")),
    ("config", b'{"model_type": "bert", "architectures": [[]]}'),
    ("config", b'{"model_type": "bert", "dtype": []}'),
    ("config", b'{"model_type": "bert", "pad_token_id": -5}'),
    ("tokenizer", ("special_tokens_map.json", b'{"unk_token": ""}')),
    ("tokenizer", ("tokenizer_config.json", b'{"auto_map": [true]}')),
    ("pooling", ("modules.json", b"[-3.5]")),
    ("tsv", (b"sentence1\tscore\r1,2\ta\r", {}, None, "")),
    ("tsv", (b"\0sentence1\tsentence2\tlabel\na\tb\t1\n", {}, None, "")),
]


@pytest.mark.parametrize(("name", "drawn"), FOUND)
def test_what_was_found_once_is_refused(
    name: str, drawn: Any, tokenizer: BertTokenizerFast
) -> None:
    thrown(ATTACKS[name], drawn, tokenizer)
