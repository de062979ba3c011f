"""The built-in data set: labels, counts, and no message twice in other clothes."""

from collections import Counter
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

SPLITS = ("train", "valid", "test")
FOLDER = files("alembert") / "data" / "intents"


@pytest.fixture(scope="module")
def messages() -> pd.DataFrame:
    """All messages, columns text, label, split."""
    frames = []
    for split in SPLITS:
        with (FOLDER / f"{split}.csv").open(encoding="utf-8") as file:
            frames.append(pd.read_csv(file, dtype=str, keep_default_na=False).assign(split=split))
    return pd.concat(frames, ignore_index=True)


def similar(texts: pd.Series, overlap: float, cosine: float) -> list[tuple[str, str]]:
    """Pairs of texts that share too many words or too many runs of three characters.

    Words: Jaccard of the word sets above `overlap`, where both have 4 words or more.
    """
    words = CountVectorizer(binary=True, token_pattern=r"[\w']+").fit_transform(texts)
    shared = (words @ words.T).toarray()
    size = shared.diagonal()
    jaccard = shared / np.maximum(size[:, None] + size - shared, 1)
    long = size >= 4
    runs = normalize(
        CountVectorizer(analyzer="char", ngram_range=(3, 3), dtype=float).fit_transform(texts)
    )
    assert sparse.issparse(runs)
    close = (jaccard > overlap) & long[:, None] & long | ((runs @ runs.T).toarray() > cosine)
    rows, columns = np.nonzero(np.triu(close, k=1))
    return [(texts[row], texts[column]) for row, column in zip(rows, columns, strict=True)]


def test_columns_are_text_and_label(messages: pd.DataFrame) -> None:
    assert list(messages.columns) == ["text", "label", "split"]


def test_there_are_18_intents_of_100_messages_or_more(messages: pd.DataFrame) -> None:
    counts = messages["label"].value_counts()
    assert len(counts) == 18
    assert counts.min() >= 100


def test_every_intent_is_in_every_split_in_the_same_share(messages: pd.DataFrame) -> None:
    table = pd.crosstab(messages["label"], messages["split"])
    assert (table["train"] == 70).all()
    assert (table["valid"] == 10).all()
    assert (table["test"] >= 20).all()


def test_the_data_card_names_every_label_and_count(messages: pd.DataFrame) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [label for label in messages["label"].unique() if f"| `{label}` |" not in card] == []
    assert f"{len(messages):,} English messages" in card
    for split in SPLITS:
        assert f"`{split}.csv` ({(messages['split'] == split).sum():,})" in card


def test_rows_are_not_in_the_order_of_their_labels(messages: pd.DataFrame) -> None:
    for _, rows in messages.groupby("split"):
        same_as_next = rows["label"].to_numpy()[1:] == rows["label"].to_numpy()[:-1]
        assert same_as_next.mean() < 0.15


def test_messages_are_one_tidy_ascii_line(messages: pd.DataFrame) -> None:
    texts = messages["text"]
    assert [text for text in texts if not (text.isascii() and text.isprintable())] == []
    assert [text for text in texts if text != " ".join(text.split()) or len(text) < 3] == []


def test_no_message_is_there_twice(messages: pd.DataFrame) -> None:
    bare = messages["text"].str.lower().str.replace(r"[^a-z0-9 ]", "", regex=True).str.strip()
    assert messages["text"][bare.duplicated(keep=False)].tolist() == []


def test_no_two_messages_nearly_agree(messages: pd.DataFrame) -> None:
    assert similar(messages["text"], overlap=0.6, cosine=0.85) == []


def test_near_duplicates_would_be_found() -> None:
    pairs = {
        ("please stop my order 48213 today", "please stop my order 77120 today"),
        ("where's the kettle?", "wheres the kettle??"),
    }
    texts = pd.Series(["no more boxes", *(text for pair in sorted(pairs) for text in pair)])
    assert set(similar(texts, overlap=0.6, cosine=0.75)) == pairs


@pytest.mark.parametrize("length", [3, 4])
def test_no_intent_is_written_by_template(messages: pd.DataFrame, length: int) -> None:
    starts = messages["text"].str.lower().str.findall(r"[\w']+").str[:length]
    long = starts.str.len() == length
    counts = Counter(zip(messages["label"][long], starts[long].str.join(" "), strict=True))
    of_label = messages["label"].value_counts()
    often = [(label, start) for (label, start), n in counts.items() if n > 0.03 * of_label[label]]
    assert often == []
