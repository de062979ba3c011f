"""Tiny models and files that all probes use: drawn with a seed, saved once, the same for both sides.

Every name has a hyphen, so that no renamed word of the package is taken for one of them.
"""

import json
import random
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKS = list(string.ascii_lowercase + string.digits)
TOPICS = {
    "up": ["good", "very", "film"],
    "down": ["bad", "not", "book"],
    "flat": ["table", "music"],
}
FILL = ["the", "is", "and", "was", "of", "to", "play"]
WORDPIECES = [
    *SPECIAL, *MARKS, *(f"##{mark}" for mark in MARKS), *".,!?'\"-",
    *(word for words in TOPICS.values() for word in words), *FILL, "very-long",
]  # fmt: skip
SMALL = {
    "vocab_size": len(WORDPIECES), "hidden_size": 16, "num_attention_heads": 4,
    "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 64,
}  # fmt: skip
FROM_ONE = {"type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "roberta": FROM_ONE,
    "xlm-roberta": FROM_ONE,
    "camembert": FROM_ONE,
    "mpnet": {"pad_token_id": 1, "max_position_embeddings": 66},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 8},
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_heads": 4, "n_layers": 2},
    "mobilebert": {"true_hidden_size": 8, "intra_bottleneck_size": 8, "embedding_size": 8},
    "modernbert": {
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2,
        "sep_token_id": 3, "global_attn_every_n_layers": 1, "local_attention": 8,
    },
    "deberta-v2": {
        "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
        "share_att_key": True, "pos_att_type": "p2c|c2p", "position_biased_input": False,
        "type_vocab_size": 0,
    },
}  # fmt: skip
LABELS = {
    "classes": sorted(TOPICS),
    "pairs": ["different", "same"],
    "scores": ["LABEL_0"],
    "several": sorted(TOPICS),
    "tags": ["O", "B-thing", "I-thing"],
}
Row = dict[str, Any]


def build(home: Path) -> None:
    """Write all models and files into a folder that is new."""
    from transformers import BertTokenizerFast

    home.mkdir(parents=True)
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDPIECES)})
    for kind in LABELS:
        save(home / f"bert-{kind}", tokenizer, kind)
        rows_to(home / f"{kind}-train.jsonl", kind, 48, seed=0)
        rows_to(home / f"{kind}-eval.jsonl", kind, 24, seed=1)
    save(home / "bert-mlm", tokenizer, "mlm")
    save(home / "bert-vectors", tokenizer, "vectors")
    save(home / "bert-second", tokenizer, "classes", seed=1)
    save(home / "bert-long", tokenizer, "mlm", max_position_embeddings=128)
    save(home / "bert-deep", tokenizer, "classes", num_hidden_layers=4)
    save(home / "bert-deep-mlm", tokenizer, "mlm", num_hidden_layers=4)
    for name, fields in ARCHITECTURES.items():
        save(home / f"teacher-{name}", tokenizer, "classes", name, **fields)
    _other_tokenizers(home)
    _broken(home, tokenizer)
    _files(home)


def save(
    path: Path, tokenizer: Any, kind: str, architecture: str = "bert", seed: int = 0, **more: Any
) -> None:
    """A model with random weights, large enough that its layers and answers differ."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    heads = {"mlm": AutoModelForMaskedLM, "vectors": AutoModel}
    heads["tags"] = AutoModelForTokenClassification
    if kind in LABELS:
        names = LABELS[kind]
        more = {"id2label": dict(enumerate(names))} | more
        more["label2id"] = {name: i for i, name in more["id2label"].items()}
        problems = {"scores": "regression", "several": "multi_label_classification"}
        more |= {"problem_type": problems[kind]} if kind in problems else {}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **(SMALL | {"vocab_size": len(tokenizer)} | more))
    model = heads.get(kind, AutoModelForSequenceClassification).from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def rows_to(path: Path, kind: str, count: int, seed: int) -> None:
    """Rows of one kind of task, an object a line; their words tell the label."""
    dice = random.Random(f"{kind} {seed}")
    rows = [ROWS[kind](dice, i) for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sentence(dice: random.Random, topics: list[str]) -> str:
    """A few words, the last ones of each topic."""
    words = [*(word for topic in topics for word in TOPICS[topic]), *FILL]
    text = dice.choices(words, k=dice.randint(2, 9))
    return " ".join([*text, *(dice.choice(TOPICS[topic]) for topic in topics)])


def _classes(dice: random.Random, i: int) -> Row:
    topic = sorted(TOPICS)[i % 3]
    return {"text": sentence(dice, [topic]), "label": topic}


def _pairs(dice: random.Random, i: int) -> Row:
    first, second = (dice.sample(sorted(TOPICS), 2), ["up", "up"])[i % 2]
    label = "same" if first == second else "different"
    return {
        "sentence1": sentence(dice, [first]), "sentence2": sentence(dice, [second]), "label": label
    }  # fmt: skip


def _scores(dice: random.Random, i: int) -> Row:
    text = sentence(dice, [sorted(TOPICS)[i % 3]])
    return {
        "text": text,
        "score": round(text.count("good") - text.count("bad") + len(text) / 40, 2),
    }


def _several(dice: random.Random, i: int) -> Row:
    topics = dice.sample(sorted(TOPICS), i % 3)
    return {"text": sentence(dice, topics), "labels": topics}


def _tags(dice: random.Random, i: int) -> Row:
    words = sentence(dice, [sorted(TOPICS)[i % 3]]).split()
    tags, inside = [], False
    for word in words:
        thing = word in (*TOPICS["up"], *TOPICS["flat"])
        tags.append(f"{'I' if inside else 'B'}-thing" if thing else "O")
        inside = thing
    return {"tokens": words, "tags": tags}


ROWS: dict[str, Callable[[random.Random, int], Row]] = {
    "classes": _classes, "pairs": _pairs, "scores": _scores, "several": _several, "tags": _tags
}  # fmt: skip


def _other_tokenizers(home: Path) -> None:
    """Models whose tokenizers are byte-level BPE and Unigram; the text they are trained on is kept."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    dice = random.Random(2)
    text = [sentence(dice, [dice.choice(sorted(TOPICS))]) for _ in range(300)]
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    bpe, unigram = Tokenizer(models.BPE()), Tokenizer(models.Unigram())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    unigram.train_from_iterator(
        text, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>")
    )
    for name, tokenizer in (("bpe", bpe), ("unigram", unigram)):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>",
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )  # fmt: skip
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", cls_token="<s>", sep_token="</s>",
            unk_token="<unk>", mask_token="<mask>",
        )  # fmt: skip
        save(home / f"roberta-{name}", fast, "classes", "roberta", **FROM_ONE | {"pad_token_id": 0})


def _broken(home: Path, tokenizer: Any) -> None:
    """Models that are refused, each for one reason."""
    from transformers import BertTokenizerFast

    numbers = tokenizer.get_vocab()
    swapped = {word: numbers[{"good": "bad", "bad": "good"}.get(word, word)] for word in numbers}
    save(home / "other-vocabulary", BertTokenizerFast(vocab=swapped), "mlm")
    save(home / "five-labels", tokenizer, "classes", id2label=dict(enumerate("abcde")))
    for name in ("no-tokenizer", "cut-weights", "pickled-weights", "odd-config", "stale-config"):
        save(home / name, tokenizer, "classes")
    for path in (home / "no-tokenizer").glob("*token*"):
        path.unlink()
    save(home / "wordy-tokenizer", tokenizer, "classes")
    BertTokenizerFast(vocab=numbers | {"more": len(numbers)}).save_pretrained(
        home / "wordy-tokenizer"
    )
    weights = home / "cut-weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    pickled = home / "pickled-weights"
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for name, field, value in (
        ("odd-config", "num_hidden_layers", '"two"'),
        ("stale-config", "intermediate_size", "48"),
    ):
        config = home / name / "config.json"
        config.write_text(re.sub(rf'"{field}": \d+', f'"{field}": {value}', config.read_text()))


def _files(home: Path) -> None:
    """The same rows in other formats, texts without labels, a corpus, word vectors, a GLUE task."""
    import pandas as pd
    from datasets import Dataset

    for part in ("train", "eval"):
        table = pd.read_json(home / f"classes-{part}.jsonl", lines=True)
        table.to_csv(home / f"classes-{part}.csv", index=False)
    table.to_csv(home / "classes-eval.tsv", sep="\t", index=False)
    table.to_parquet(home / "classes-eval.parquet")
    table.to_csv(
        home / "classes-eval.csv.gz", index=False, compression={"method": "gzip", "mtime": 1}
    )
    table.to_json(home / "classes-eval.json", orient="records")
    table.rename(columns={"text": "body", "label": "queue"}).to_csv(
        home / "ticket-rows.csv", index=False
    )
    table[["text"]].to_csv(home / "no-labels.csv", index=False)
    Dataset.from_pandas(table).save_to_disk(home / "classes-saved")
    dice = random.Random(3)
    lines = []
    for i in range(80):
        lines.append(" ".join(sentence(dice, [dice.choice(sorted(TOPICS))]) for _ in range(3)))
        lines += [""] * (i % 5 == 4)
    (home / "plain-text.txt").write_text("\n".join(lines) + "\n")
    words = [*(word for topic in TOPICS.values() for word in topic), *FILL]
    vectors = [f"{w} " + " ".join(f"{dice.gauss(0, 1):.4f}" for _ in range(8)) for w in words]
    (home / "word-vectors.txt").write_text("\n".join(vectors) + "\n")
    sentences = [json.loads(x) for x in (home / "tags-eval.jsonl").read_text().splitlines()]
    conll = "\n".join(
        "".join(f"{w} {t}\n" for w, t in zip(s["tokens"], s["tags"], strict=True))
        for s in sentences
    )
    (home / "tags-eval.conll").write_text(conll)
    glue = home / "glue-tasks" / "RTE"
    glue.mkdir(parents=True)
    names = ("entailment", "not_entailment")
    for part in ("train", "dev"):
        rows = [_pairs(dice, i) for i in range(40)]
        text = [
            f"{i}\t{row['sentence1']}\t{row['sentence2']}\t{names[row['label'] == 'same']}"
            for i, row in enumerate(rows)
        ]
        (glue / f"{part}.tsv").write_text(
            "\n".join(["index\tsentence1\tsentence2\tlabel", *text]) + "\n"
        )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
