"""Writes the tiny models and files that probes use, drawn with a seed, the same for both sides.

Every name has a hyphen, so that no renamed word of the package is taken for one of them.
"""

import json
import random
import string
import sys
from pathlib import Path
from typing import Any

import yaml

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKS = list(string.ascii_lowercase + string.digits)
TOPICS = {
    "down": ["bad", "not", "book"],
    "flat": ["table", "music"],
    "up": ["good", "very", "film"],
}
FILL = ["the", "is", "and", "was", "of", "to", "play"]
WORDS = [*(word for topic in TOPICS.values() for word in topic), *FILL]
WORDPIECES = [*SPECIAL, *MARKS, *(f"##{mark}" for mark in MARKS), *".,!?'\"-", *WORDS]
SMALL = {
    "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32, "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
LABELS = {
    "classes": sorted(TOPICS), "pairs": ["different", "same"], "scores": ["LABEL_0"],
    "several": sorted(TOPICS), "tags": ["O", "B-thing", "I-thing"],
}  # fmt: skip
PROBLEMS = {"scores": "regression", "several": "multi_label_classification"}
Row = dict[str, Any]


def build(home: Path) -> None:
    """Write all models and files into a folder that is new."""
    home.mkdir(parents=True)
    tokenizers = _tokenizers()
    for name, fields in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()).items():
        tokenizer = tokenizers[fields.pop("tokenizer", "wordpieces")]
        _save(home / name, tokenizer, **{"kind": "classes"} | fields)
    _spoil(home, tokenizers["wordpieces"])
    for kind in LABELS:
        for part, count in (("train", 48), ("eval", 24)):
            dice = random.Random(f"{kind} {part}")
            rows = [_row(kind, dice, i) for i in range(count)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (home / f"{kind}-{part}.jsonl").write_text(text)
    _texts(home)
    _formats(home)


def _tokenizers() -> dict[str, Any]:
    """WordPiece of known words, byte-level BPE, and Unigram."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import BertTokenizerFast, PreTrainedTokenizerFast

    found: dict[str, Any] = {
        "wordpieces": BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDPIECES)})
    }
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    settings: dict[str, Any] = {"special_tokens": special, "show_progress": False}
    parts: dict[str, tuple[Any, ...]] = {
        "bpe": (models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel(),
                trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, **settings)),
        "unigram": (models.Unigram(), pre_tokenizers.Metaspace(), decoders.Metaspace(),
                    trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", **settings)),
    }  # fmt: skip
    dice = random.Random(2)
    text = [_sentence(dice, dice.choice(list(TOPICS))) for _ in range(300)]
    for name, (model, before, after, trainer) in parts.items():
        whole = Tokenizer(model)
        whole.pre_tokenizer, whole.decoder = before, after
        whole.train_from_iterator(text, trainer)
        whole.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", "<s> $A </s> $B </s>", [("<s>", 1), ("</s>", 2)]
        )
        found[name] = PreTrainedTokenizerFast(
            tokenizer_object=whole, pad_token="<pad>", cls_token="<s>", sep_token="</s>",
            unk_token="<unk>", mask_token="<mask>",
        )  # fmt: skip
    return found


def _save(path: Path, tokenizer: Any, kind: str, seed: int = 0, **fields: Any) -> None:
    """A model with random weights, large enough that its layers and answers differ."""
    import torch
    import transformers

    if names := LABELS.get(kind):
        fields = {"id2label": dict(enumerate(names))} | fields
        fields["label2id"] = {name: i for i, name in fields["id2label"].items()}
    fields |= {"problem_type": PROBLEMS[kind]} if kind in PROBLEMS else {}
    heads = {"mlm": "ForMaskedLM", "vectors": "", "tags": "ForTokenClassification"}
    auto = getattr(transformers, f"AutoModel{heads.get(kind, 'ForSequenceClassification')}")
    torch.manual_seed(seed)
    fields = {"model_type": "bert", "vocab_size": len(tokenizer)} | SMALL | fields
    model = auto.from_config(transformers.AutoConfig.for_model(**fields))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def _spoil(home: Path, tokenizer: Any) -> None:
    """What is wrong with the models that are refused."""
    numbers = tokenizer.get_vocab()
    swapped = {word: numbers[{"good": "bad", "bad": "good"}.get(word, word)] for word in numbers}
    type(tokenizer)(vocab=swapped).save_pretrained(home / "other-vocabulary")
    wordy = numbers | {"more": len(numbers)}
    type(tokenizer)(vocab=wordy).save_pretrained(home / "wordy-tokenizer")
    for path in (home / "no-tokenizer").glob("*token*"):
        path.unlink()
    weights = home / "cut-weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    pickled = home / "pickled-weights"
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    odd = {"odd-config": ("num_hidden_layers", "two"), "stale-config": ("intermediate_size", 48)}
    for name, (field, value) in odd.items():
        config = home / name / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {field: value}))


def _sentence(dice: random.Random, *topics: str) -> str:
    """A few words, the last ones of each topic."""
    words = [*(word for topic in topics for word in TOPICS[topic]), *FILL]
    text = dice.choices(words, k=dice.randint(2, 9))
    return " ".join([*text, *(dice.choice(TOPICS[topic]) for topic in topics)])


def _row(kind: str, dice: random.Random, number: int) -> Row:
    """A row of one kind of task; its words tell the label."""
    topic = list(TOPICS)[number % 3]
    text = _sentence(dice, topic)
    if kind == "pairs":
        label = LABELS["pairs"][number % 2]
        other = topic if label == "same" else list(TOPICS)[(number + 1) % 3]
        return {"sentence1": text, "sentence2": _sentence(dice, other), "label": label}
    if kind == "scores":
        score = text.count("good") - text.count("bad") + len(text) / 40
        return {"text": text, "score": round(score, 2)}
    if kind == "several":
        topics = dice.sample(list(TOPICS), number % 3)
        return {"text": _sentence(dice, *topics), "labels": topics}
    if kind == "tags":
        things = ["X", *(word in TOPICS["up"] + TOPICS["flat"] for word in text.split())]
        pairs = zip(things[1:], things, strict=False)
        tags = [f"{'I' if before is True else 'B'}-thing" if it else "O" for it, before in pairs]
        return {"tokens": text.split(), "tags": tags}
    return {"text": text, "label": topic}


def _texts(home: Path) -> None:
    """A corpus, word vectors, a task of GLUE, tags as CoNLL has them."""
    dice = random.Random(3)
    lines = []
    for number in range(80):
        lines.append(" ".join(_sentence(dice, dice.choice(list(TOPICS))) for _ in range(3)))
        lines += [""] * (number % 5 == 4)
    (home / "plain-text.txt").write_text("\n".join(lines) + "\n")
    vectors = ["".join(f" {dice.gauss(0, 1):.4f}" for _ in range(8)) for _ in WORDS]
    pairs = zip(WORDS, vectors, strict=True)
    (home / "word-vectors.txt").write_text("".join(f"{word}{v}\n" for word, v in pairs))
    glue = home / "glue-tasks" / "RTE"
    glue.mkdir(parents=True)
    for part in ("train", "dev"):
        rows = [_row("pairs", dice, number) for number in range(40)]
        named = ("not_" * (row["label"] == "same") + "entailment" for row in rows)
        lines = [
            f"{i}\t{row['sentence1']}\t{row['sentence2']}\t{name}"
            for i, (row, name) in enumerate(zip(rows, named, strict=True))
        ]
        text = "\n".join(["index\tsentence1\tsentence2\tlabel", *lines]) + "\n"
        (glue / f"{part}.tsv").write_text(text)
    rows = [json.loads(line) for line in (home / "tags-eval.jsonl").read_text().splitlines()]
    columns = [zip(row["tokens"], row["tags"], strict=True) for row in rows]
    conll = ("".join(f"{word} {tag}\n" for word, tag in column) for column in columns)
    (home / "tags-eval.conll").write_text("\n".join(conll))


def _formats(home: Path) -> None:
    """The rows of classes in other formats, under other names of columns, and without labels."""
    import pandas as pd
    from datasets import Dataset

    train, table = (
        pd.read_json(home / f"classes-{x}.jsonl", lines=True) for x in ("train", "eval")
    )
    train.to_csv(home / "classes-train.csv", index=False)
    table.to_csv(home / "classes-eval.csv", index=False)
    table.to_csv(home / "classes-eval.tsv", sep="\t", index=False)
    table.to_csv(home / "classes-eval.csv.gz", index=False)
    table.to_parquet(home / "classes-eval.parquet")
    table.to_json(home / "classes-eval.json", orient="records")
    table.set_axis(["body", "queue"], axis=1).to_csv(home / "ticket-rows.csv", index=False)
    table[["text"]].to_csv(home / "no-labels.csv", index=False)
    Dataset.from_pandas(table).save_to_disk(home / "classes-saved")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
