"""No small file takes much memory, whatever it unpacks, expands or pretends to."""

from pathlib import Path

import pytest
from support.bombs import BOMBS, MOST, lay_out, thrown
from transformers import BertTokenizerFast


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_never_takes_two_gigabytes(
    name: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    bomb = BOMBS[name]
    lay_out(tmp_path, tokenizer, bomb)
    words = bomb.words.split()
    out = [] if words[0] == "check" else ["--out", "made"]
    code, said, peak = thrown(tmp_path, [*words, *out])
    assert code == (2 if bomb.says else 0), said
    assert bomb.says in said
    assert peak < MOST
