"""What a user can get wrong, and the one line that each mistake prints: a table, run row by row."""

import os
import pkgutil
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from houses import corpus_file, saved, task_file
from transformers import AutoConfig, BertTokenizerFast

from alembert.cli import main
from alembert.export import torch_session
from alembert.recipes import recipe_of
from alembert.recipes.schema import to_yaml
from alembert.runs import checks, folder, stage

SHORT = "--max-length 32 --epochs 1"
BY = f"distill distilbert --train train.csv --out run {SHORT}"
DISTIL = f"{BY} --teacher teacher"
TUNE = f"finetune teacher --train train.csv --out run {SHORT}"
WORDS = (
    "distill distilbert --teacher words --corpus corpus.txt --out run --set stages.general.steps=2"
)
TINY = (
    "distill tinybert --teacher teacher --train train.csv --layers 1 --hidden-size 8 --out run "
    "--max-length 32 --epochs 1"
)
MOBILE = "distill mobilebert --teacher teacher --train train.csv --out run --max-length 32"
JUDGE = "evaluate teacher --data train.csv"
Files = dict[str, str | bytes]

# (the row's name, files that are written first, the command line, what it prints)
DATA: list[tuple[str, Files, str, str]] = [
    (
        "an empty file has no rows",
        {"bad.csv": ""},
        f"{DISTIL} --train bad.csv",
        r"bad\.csv: the file is empty; give a file with at least one row",
    ),
    (
        "a header alone has no rows",
        {"bad.csv": "text,label\n"},
        f"{DISTIL} --train bad.csv",
        r"bad\.csv: no rows below the header; give",
    ),
    (
        "a file that is not there is named",
        {},
        f"{DISTIL} --train nowhere.csv",
        r"nowhere\.csv: no such file; check the path",
    ),
    (
        "a file with a misspelt suffix is not sought on the hub",
        {},
        f"{DISTIL} --train train.cvs",
        r"train\.cvs: no such file; check the path",
    ),
    (
        "a file in a folder that is here is not sought on the hub",
        {"sets/a.csv": "text\na\n"},
        f"{DISTIL} --train sets/train",
        r"sets/train: no such file; check the path",
    ),
    (
        "a wrong label column is named with those there are",
        {},
        f"{DISTIL} --label intnet",
        r"--label intnet: train\.csv has no such column; it has 'text', 'label'",
    ),
    (
        "a wrong text column is named with those there are",
        {},
        f"{DISTIL} --text body",
        r"--text body: train\.csv has no such column; it has 'text', 'label'",
    ),
    (
        "columns of unknown names are listed",
        {"bad.csv": "a,b\nvery good,up\n"},
        f"{DISTIL} --train bad.csv",
        r"bad\.csv: no column of text among 'a', 'b'; name it with --text",
    ),
    (
        "a label of eval that train lacks is named with its row",
        {"test.csv": "text,label\ngood,up\nbad,sideways\n"},
        f"{TUNE} --eval test.csv",
        r"test\.csv, row 2: label 'sideways' is none of the 3 known, down, flat, up; mend",
    ),
    (
        "one label only is no task",
        {"bad.csv": "text,label\n" + "very good,up\n" * 9},
        f"{TUNE} --train bad.csv",
        r"bad\.csv: every label is 'up'; a task needs two or more: add rows, or name another",
    ),
    (
        "a score that is not a number is named with its row",
        {"bad.csv": "text,score\ngood,1.5\nbad,nan\nfilm,2.5\n"},
        f"{TUNE} --train bad.csv",
        r"bad\.csv, row 2: 'score' is nan; give a number",
    ),
    (
        "broken UTF-8 is named with its line",
        {"bad.csv": b"text,label\ngood,up\nb\xe4d,down\n"},
        f"{DISTIL} --train bad.csv",
        r"bad\.csv, line 3: byte 20 is not UTF-8; save the file as UTF-8",
    ),
    (
        "a CSV row with a comma too many is named with its line",
        {"bad.csv": "text,label\ngood,up\nbad, very bad,down\n"},
        f"{DISTIL} --train bad.csv",
        r"bad\.csv, line 3: 3 fields where the header has 2; mend the row",
    ),
    (
        "a JSONL key of two types is named with its line",
        {"bad.jsonl": '{"text": "good", "label": "up"}\n{"text": 3, "label": "down"}\n'},
        f"{DISTIL} --train bad.jsonl",
        r"bad\.jsonl, line 2: 'text' is a number, above it is a string; give every row",
    ),
    (
        "an empty text is named with its row",
        {"bad.csv": "text,label\ngood,up\n ,down\nfilm,up\n"},
        f"{DISTIL} --train bad.csv",
        r"bad\.csv, row 2: 'text' is empty; fill it or drop the row",
    ),
    (
        "a train file too small to hold some out is named",
        {"bad.csv": "text,label\ngood,up\nbad,down\n"},
        f"{TUNE} --train bad.csv",
        r"bad\.csv: .*give --valid",
    ),
    (
        "of two eval files the second has to have labels too",
        {"a.csv": "text,label\ngood,up\n", "b.csv": "text,note\ngood,up\n"},
        f"{DISTIL} --eval a.csv --eval b.csv",
        r"b\.csv: no column of labels among 'text', 'note'; name it with --label",
    ),
    (
        "an unknown GLUE task is answered with those there are",
        {},
        f"{DISTIL} --task sst3",
        r"--task sst3: no such task; there are sst2, cola",
    ),
    (
        "a GLUE folder without its files is named",
        {"glue/RTE/dev.tsv": "a"},
        f"{DISTIL} --task rte --train glue",
        r"glue/RTE/train\.tsv: no such file; give a folder with RTE/train\.tsv",
    ),
    (
        "a GLUE task of an unreachable hub is said to be so",
        {},
        f"{DISTIL.replace('--train train.csv', '--task rte')}",
        r"nyu-mll/glue:rte: no such file, and the hub cannot be reached; check the path or the net",
    ),
    (
        "an empty corpus has no text",
        {"bad.txt": ""},
        f"{WORDS} --corpus bad.txt --max-length 32",
        r"bad\.txt: no sequence is left \(no text\); give more text",
    ),
    (
        "a corpus of which nothing is left says why",
        {"bad.txt": "very good\n\nbad\n"},
        f"{WORDS} --corpus bad.txt --max-length 32",
        r"bad\.txt: no sequence is left \(2 under 12 tokens\); give more text",
    ),
    (
        "a corpus that is not there is named",
        {},
        f"{WORDS} --corpus nowhere.txt --max-length 32",
        r"nowhere\.txt: no such file; check the path",
    ),
    (
        "a corpus is not prepared where other things lie",
        {"home/letter.doc": "dear"},
        "corpus corpus.txt --tokenizer words --out home",
        r"home: holds letter\.doc and no corpus: choose an empty or new folder",
    ),
    (
        "a text that is not there is no corpus",
        {},
        "corpus corpus.txt nowhere.txt --tokenizer words --out prepared",
        r"nowhere\.txt: no such file; check the path",
    ),
    (
        "a begun corpus is not trained on",
        {"prepared/state.json": "{}"},
        f"{WORDS} --corpus prepared --max-length 32",
        r"prepared: is not finished: run its 'alembert corpus' command again",
    ),
    (
        "a prepared corpus has all pieces",
        {"prepared/corpus.json": "{}"},
        f"{WORDS} --corpus prepared --max-length 32 --vocabulary task",
        r"prepared: was prepared with all pieces, and --vocabulary keeps some: give --corpus the",
    ),
]

MODELS: list[tuple[str, Files, str, str]] = [
    (
        "a student of another vocabulary than its teacher is refused",
        {},
        f"{DISTIL} --student other",
        r"other and teacher have different vocabularies: .*; use a student made with",
    ),
    (
        "a teacher without the task head is told how to get one",
        {},
        f"{BY} --teacher words",
        r"words: the model has no classification head .*'alembert finetune words --train FILE",
    ),
    (
        "a model without the task head cannot be judged on a task",
        {},
        "evaluate words --data train.csv --max-length 32",
        r"words: the model has no classification head .*'alembert finetune words --train FILE",
    ),
    (
        "a missing task head is noticed before the corpus is trained on",
        {},
        f"{WORDS} --train train.csv --max-length 32",
        r"words: the model has no classification head .*'alembert finetune words --train FILE",
    ),
    (
        "a teacher without the masked-word head is told how to get one",
        {},
        f"{DISTIL} --corpus corpus.txt",
        r"teacher: the model has no masked-word head .*'alembert finetune teacher --corpus FILE",
    ),
    (
        "a teacher of other labels is refused",
        {},
        f"{BY} --teacher five",
        r"train\.csv, row 1: label 'up' is none of the 5 known, a, b, c, d, e; mend",
    ),
    (
        "teachers of other labels than the first are refused",
        {},
        f"{DISTIL} --teacher five",
        r"five: its labels are not those of teacher: a, b, c, d, down, e, flat, up only one of",
    ),
    (
        "a second teacher without the task head is told how to get one",
        {},
        f"{DISTIL} --teacher words",
        r"words: (its labels are not those of teacher|the model has no classification head)",
    ),
    (
        "a teacher that is named twice is refused",
        {},
        f"{DISTIL} --teacher teacher",
        r"--teacher teacher: is named twice: leave one out",
    ),
    (
        "several teachers of a corpus alone are refused",
        {},
        f"{WORDS} --max-length 32 --teacher teacher",
        r"--teacher teacher: several teachers are averaged in what they answer to a task, and no "
        r"stage of this run imitates that: give --train, or one --teacher",
    ),
    (
        "more layers than the teacher has are refused",
        {},
        f"{DISTIL} --layers 9",
        r"--layers 9: a DistilBERT student takes 1 to 2 of its teacher's layers",
    ),
    (
        "a DistilBERT student is as wide as its teacher",
        {},
        f"{DISTIL} --hidden-size 8",
        r"--hidden-size 8: a DistilBERT student is as wide as its teacher \(16\)",
    ),
    (
        "a length beyond the positions of a model is refused",
        {},
        f"{DISTIL} --max-length 65",
        r"max_length 65 is more than the 64 positions of teacher: set --max-length 64 or less",
    ),
    (
        "a length beyond the positions is refused when a model is judged",
        {},
        f"{JUDGE} --max-length 65",
        r"max_length 65 is more than the 64 positions of teacher: set --max-length 64 or less",
    ),
    (
        "a table is no teacher",
        {},
        f"{BY} --teacher train.csv",
        r"train\.csv: a model is a folder or a hub id, not a file",
    ),
    (
        "a file of weights is no teacher",
        {},
        f"{BY} --teacher teacher/model.safetensors",
        r"teacher/model\.safetensors: a model is a folder or a hub id, not a file",
    ),
    (
        "a misspelt folder with a dot is not sought on the hub",
        {},
        f"{BY} --teacher ./teacherr",
        r"\./teacherr: no such folder; check the path",
    ),
    (
        "a misspelt folder of several slashes is not sought on the hub",
        {},
        f"{BY} --teacher some/where/teacher",
        r"some/where/teacher: no such folder; check the path",
    ),
    (
        "a misspelt folder beside others is not sought on the hub",
        {"runs/note.txt": "a"},
        f"{BY} --teacher runs/teacher",
        r"runs/teacher: no such folder; check the path",
    ),
    (
        "a name that is neither here nor on an unreachable hub is said to be so",
        {},
        f"{BY} --teacher teacherr",
        r"teacherr: no such folder, and the hub cannot be reached; check the path or the network",
    ),
    (
        "a folder without a model is no teacher",
        {"empty/note.txt": "a"},
        f"{BY} --teacher empty",
        r"empty: a folder without config\.json is not a saved model",
    ),
    (
        "a teacher without its tokenizer is refused",
        {},
        f"{BY} --teacher mute",
        r"mute: .*tokenizer",
    ),
    (
        "a tokenizer with more words than its model is refused",
        {},
        f"{TUNE.replace('teacher', 'wordy')}",
        r"wordy: its tokenizer has 100 words and the model 99: put the tokenizer",
    ),
    (
        "a teacher with a broken weights file is named",
        {},
        f"{BY} --teacher broken",
        r"broken: cannot be read as a saved model",
    ),
    (
        "pickled weights are never read",
        {},
        f"{BY} --teacher pickled",
        r"pickled: its weights are pickled \(pytorch_model\.bin\), which is never read: save the",
    ),
    (
        "a config with a word for a number is named",
        {},
        f"{BY} --teacher odd",
        r"odd: cannot be read as a saved model: .*'num_hidden_layers'",
    ),
    (
        "weights of another shape than the config says are named",
        {},
        f"{BY} --teacher stale",
        r"stale: weights are missing from the file or of another shape: bert\.encoder.* \(6 in all",
    ),
]

OPTIONS: list[tuple[str, Files, str, str]] = [
    (
        "a valid file without a train file is refused",
        {},
        "distill distilbert --teacher teacher --out run --valid train.csv",
        r"--valid speaks to the task stages: it needs --train",
    ),
    (
        "a run without data has nothing to do",
        {},
        "distill distilbert --teacher teacher --out run",
        r"nothing to run: .*give --corpus or --train",
    ),
    (
        "a setting without an equals sign is refused",
        {},
        f"{DISTIL} --set stages.task.clip",
        r"--set stages\.task\.clip: write it as FIELD=VALUE",
    ),
    (
        "a setting of an unknown field is answered with those there are",
        {},
        f"{DISTIL} --set stages.task.lr=1",
        r"--set stages\.task\.lr: there is no field 'lr' here: name, data",
    ),
    (
        "a setting of an unknown stage is answered with those there are",
        {},
        f"{DISTIL} --set stages.tsak.clip=1",
        r"--set stages\.tsak\.clip: there is no 'tsak': choose one of general, task",
    ),
    (
        "a setting whose value is no YAML is refused",
        {},
        f"{DISTIL} --set stages.task.clip=[1",
        r"--set stages\.task\.clip: '\[1' is not a value",
    ),
    (
        "no epochs are refused",
        {},
        f"{DISTIL} --epochs 0",
        r"--epochs 0: must be over 0",
    ),
    (
        "negative epochs are refused",
        {},
        f"{DISTIL} --epochs -3",
        r"--epochs -3: must be over 0",
    ),
    (
        "epochs without an end are refused",
        {},
        f"{DISTIL} --epochs inf",
        r"--epochs inf: must be",
    ),
    (
        "a batch of nothing is refused",
        {},
        f"{DISTIL} --batch-size 0",
        r"--batch-size 0: must be over 0",
    ),
    (
        "a negative seed is refused",
        {},
        f"{DISTIL} --seed -1",
        r"--seed -1: must be 0 or more",
    ),
    (
        "an unknown precision is answered with those there are",
        {},
        f"{DISTIL} --precision foo",
        r"--precision foo: choose auto, fp32, bf16 or fp16",
    ),
    (
        "an unknown recipe is answered with those there are",
        {},
        f"{DISTIL.replace('distilbert', 'distillbert')}",
        r"there is no recipe 'distillbert': name a YAML file or one of distilbert",
    ),
    (
        "a recipe file that is not there is named",
        {},
        f"{DISTIL.replace('distilbert', 'nowhere.yaml')}",
        r"nowhere\.yaml: no such file; check the path",
    ),
    (
        "a recipe that is no YAML is named",
        {"my.yaml": "name: [a\n"},
        f"{DISTIL.replace('distilbert', 'my.yaml')}",
        r"my\.yaml: not a readable recipe: .*line 2",
    ),
    (
        "an unknown key of a recipe is named",
        {"my.yaml": "{recipe}colour: red\n"},
        f"{DISTIL.replace('distilbert', 'my.yaml')}",
        r"my\.yaml: colour: there is no such field; 'alembert recipes show NAME' prints those",
    ),
    (
        "a wrong value of a recipe is named with its rule",
        {"my.yaml": "{recipe}projections: some\n"},
        f"{DISTIL.replace('distilbert', 'my.yaml')}",
        r"my\.yaml: projections: Input should be 'none', 'layer' or 'shared' \(given: 'some'\)",
    ),
    (
        "a field that a student cannot have is named",
        {},
        f"{DISTIL} --set student.colour=red",
        r"the recipe's student: a distilbert has no field 'colour'",
    ),
    (
        "a student that cannot be built says why",
        {},
        f"{DISTIL} --set student.n_heads=3",
        r"the recipe's student: .*n_heads 3 must divide .*; mend the recipe",
    ),
    (
        "a masked-word model for a recipe without variants is refused",
        {},
        f"{DISTIL} --mlm words",
        r"--mlm varies texts and recipe 'distilbert' asks for no variants: leave it out",
    ),
    (
        "a masked-word model without a head is refused",
        {},
        f"{TINY} --mlm teacher",
        r"teacher: the model has no masked-word head .*alembert finetune teacher --corpus FILE",
    ),
    (
        "word vectors that are none name their line",
        {"vectors.txt": "the 0.1 0.2\ngood 0.1 nought\n"},
        f"{TINY} --vectors vectors.txt",
        r"vectors\.txt, line 2: .*",
    ),
    (
        "no variants at all are refused",
        {},
        f"{TINY} --mlm words --set augment.copies=0",
        r"copies 0: must be 1 or more",
    ),
    (
        "a width that does not divide among the heads is refused with those that do",
        {},
        f"{TINY.replace('--hidden-size 8', '--hidden-size 10')}",
        r"--hidden-size 10: .*take 8 or 12",
    ),
    (
        "fewer words than the tokenizer has are refused by the field that set them",
        {},
        f"{TINY} --set student.vocab_size=3",
        r"the student: .* the model 3: set student\.vocab_size=\d+, or leave it out",
    ),
    (
        "a thin student wider than its teacher is refused with what it may be",
        {},
        "distill mobilebert --teacher words --corpus corpus.txt --out run --hidden-size 48",
        r"--hidden-size 48: a MobileBERT of this teacher has \d+ \(its heads\) to 16",
    ),
    (
        "so is an IB-BERT",
        {},
        "distill ibbert --teacher words --corpus corpus.txt --out run --hidden-size 48",
        r"--hidden-size 48: an IB-BERT of this teacher has \d+ \(its heads\) to 16",
    ),
    (
        "a width inside that does not divide among the heads is refused",
        {},
        f"{MOBILE} --set student.intra_bottleneck_size=7",
        r"student\.intra_bottleneck_size 7: must be a multiple of the \d heads",
    ),
    (
        "words wider than a thin student's stream leave its head of words no room",
        {},
        f"{MOBILE} --hidden-size 8 --set student.embedding_size=9",
        r"student\.embedding_size 9: at most student\.hidden_size, 8",
    ),
    (
        "a thin student's queries of the stream are an IB-BERT's",
        {},
        f"{MOBILE} --set student.key_query_shared_bottleneck=false",
        r"student\.key_query_shared_bottleneck false: an IB-BERT's alone",
    ),
    (
        "a thin student without token types cannot be",
        {},
        f"{MOBILE} --set student.type_vocab_size=0",
        r"student\.type_vocab_size 0: must be 1 or more",
    ),
    (
        "what a thin student works out itself is not set",
        {},
        f"{MOBILE} --set student.true_hidden_size=5",
        r"the recipe's student: a mobilebert has no field 'true_hidden_size'",
    ),
    (
        "padding that is no word is refused",
        {},
        f"{MOBILE} --set student.pad_token_id=5000",
        r"the recipe's student: Padding_idx must be within num_embeddings",
    ),
    (
        "a layer that a term's teacher lacks is named",
        {},
        f"{TINY} --set stages.intermediate.objective.HiddenMSE.layers=[[1,9]]",
        r"HiddenMSE\.layers: layer map pair \(1, 9\) lies outside the models",
    ),
    (
        "a start from the embedding is no layer's",
        {},
        f"{TINY} --mlm words --set init.layers=[[0,0],[1,1]]",
        r"init\.layers: name a teacher layer for each of the student's layers 1 to 1, .*",
    ),
    (
        "a start from a layer that there is not is named",
        {},
        f"{TINY} --mlm words --set init.layers=[[1,9]]",
        r"init\.layers: layer map pair \(1, 9\) lies outside the models",
    ),
    (
        "layers that are no pairs are refused with what they should be",
        {},
        f"{TINY} --set init.layers=[0,9]",
        r"--set: init\.layers: write a name, or pairs .* such as \[\[1,3\],\[2,6\]\] \(given: .*",
    ),
    (
        "a wrong field of a stage is named by the stage's name",
        {},
        f"{TINY} --set stages.prediction.batch_size=0",
        r"--set: stages\.prediction\.batch_size: Input should be greater than 0 \(given: 0\)",
    ),
    (
        "a student of no neurons is refused",
        {},
        f"{TINY} --mlm words --set student.intermediate_size=0",
        r"student\.intermediate_size 0: must be 1 or more",
    ),
    (
        "a student of an unknown activation is refused",
        {},
        f"{TINY} --mlm words --set student.hidden_act=foo",
        r"the recipe's student: 'foo' is unknown; mend the recipe",
    ),
    (
        "a student's dropout out of bounds is refused",
        {},
        f"{TINY} --mlm words --set student.hidden_dropout_prob=7",
        r"the recipe's student: dropout probability has to be between 0 and 1, but got 7; .*",
    ),
    (
        "a student that is there keeps its shape",
        {},
        f"{DISTIL} --student teacher --set student.n_heads=4",
        r"--set student\.n_heads: --student is taken as it is; leave one of the two out",
    ),
    (
        "a model that is fine-tuned keeps its shape",
        {},
        "finetune teacher --train train.csv --out run --set init.start=scratch "
        "--set student.num_hidden_layers=1",
        r"--set student\.num_hidden_layers: the model is taken as it is \(init\.start=scratch .*\)",
    ),
    (
        "a share that is no number is refused",
        {},
        "augment --train train.csv --out more.csv --embeddings teacher --share nan",
        r"share nan: must be over 0, at most 1",
    ),
    (
        "a star that matches no stage is refused",
        {},
        f"{DISTIL} --set stages.transfer-*.steps=3",
        r"--set stages\.transfer-\*\.steps: there is no 'transfer-\*': choose one of general, task",
    ),
    (
        "augmentation needs something to go by",
        {},
        "augment --train train.csv --out more.csv",
        r"name a masked-word model with --mlm, or --vectors or --embeddings",
    ),
    (
        "half precision that MobileBERT cannot bear is refused with the reason",
        {},
        "distill mobilebert --teacher teacher --train train.csv --out run --precision fp16 "
        "--max-length 32",
        r"--precision fp16: the states of the student \(mobilebert\) grow over what fp16 holds",
    ),
    (
        "a run of another recipe is left alone",
        {
            "run/recipe.yaml": "{recipe}",
            "run/environment.json": '{"arguments": {}}',
            "run/.lock": "",
        },
        DISTIL,
        r"run: holds another run: stages\.0\.max_length is 512 there and 32 here: choose another",
    ),
    (
        "a run whose facts are broken is named",
        {"run/recipe.yaml": "{recipe}", "run/environment.json": "{", "run/.lock": ""},
        DISTIL,
        r"run/environment\.json: cannot be read \(.*\): delete the folder, or choose another --out",
    ),
    (
        "no sequences to judge by are refused",
        {},
        "evaluate words --corpus corpus.txt --max-length 32 --sequences 0",
        r"--sequences 0: must be 1 or more",
    ),
    (
        "data and corpus together are refused when a model is judged",
        {},
        f"{JUDGE} --corpus corpus.txt",
        r"give exactly one of --data and --corpus",
    ),
]

PLACES: list[tuple[str, Files, str, str]] = [
    (
        "a folder of other files is left alone",
        {"run/thesis.tex": "a"},
        DISTIL,
        r"run: holds thesis\.tex and no run: choose an empty or new folder",
    ),
    (
        "an empty folder stays empty after a mistake",
        {"run/": ""},
        f"{DISTIL} --label intnet",
        r"--label intnet: train\.csv has no such column",
    ),
    (
        "a folder below a file cannot be made",
        {"file": "a"},
        f"{DISTIL} --out file/run",
        r"file/run: cannot be written \(Not a directory\): choose another --out",
    ),
    (
        "a folder that cannot be written is named",
        {},
        f"{DISTIL} --out /proc/run",
        r"/proc/run: cannot be written \(.*\): choose another --out",
    ),
    (
        "parents made for a refused run are gone again",
        {},
        f"{DISTIL} --out a/b/run --label intnet",
        r"--label intnet: train\.csv has no such column",
    ),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """Models and files that are right; every row has them in its folder."""
    home = tmp_path_factory.mktemp("house")
    saved(home / "teacher", tokenizer, "classification")
    saved(home / "words", tokenizer)
    names = {
        "id2label": dict(enumerate("abcde")),
        "label2id": {c: i for i, c in enumerate("abcde")},
    }
    saved(home / "five", tokenizer, "classification", **names)
    numbers = tokenizer.get_vocab()
    swapped = {word: numbers[{"good": "bad", "bad": "good"}.get(word, word)] for word in numbers}
    saved(home / "other", BertTokenizerFast(vocab=swapped))
    for name in ("mute", "broken", "wordy", "pickled", "odd", "stale"):
        saved(home / name, tokenizer, "classification")
    for path in (home / "mute").glob("*token*"):
        path.unlink()
    BertTokenizerFast(vocab=numbers | {"more": 99}).save_pretrained(home / "wordy")
    weights = home / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (home / "pickled" / "model.safetensors").rename(home / "pickled" / "pytorch_model.bin")
    for name, field, value in (
        ("odd", "num_hidden_layers", '"two"'),
        ("stale", "intermediate_size", 48),
    ):
        config = home / name / "config.json"
        config.write_text(re.sub(rf'"{field}": \d+', f'"{field}": {value}', config.read_text()))
    task_file(home / "train.csv")
    corpus_file(home / "corpus.txt")
    return home


@pytest.fixture
def here(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of one row, out of the hub's reach."""
    monkeypatch.setattr("alembert.io.hub.reachable", lambda: False)
    for item in house.iterdir():
        (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: Files) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
            continue
        if isinstance(content, str):
            recipe = recipe_of("distilbert", AutoConfig.from_pretrained("teacher"))
            content = content.replace("{recipe}", to_yaml(recipe)).encode()
        path.write_bytes(content)


def tree() -> dict[str, bytes | None]:
    """Every file and folder of the working folder with its content; links are not followed."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for folder, folders, files in os.walk(".")
        for path in (Path(folder, name) for name in (*folders, *files))
    }


def command(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["alembert", *line.split()])
    try:
        main.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("files", "line", "says"),
    [
        pytest.param(*row, id=name.replace(" ", "_"))
        for name, *row in (*DATA, *MODELS, *OPTIONS, *PLACES)
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing_behind(
    files: Files,
    line: str,
    says: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(files)
    before = tree()
    capsys.readouterr()
    code = command(line, monkeypatch)
    printed = capsys.readouterr().err
    assert code == 2, printed
    assert re.fullmatch(r"alembert: [^\n]+\n", printed), printed
    assert re.search(says, printed), printed
    assert tree() == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (DISTIL, "alembert: interrupted; the same command goes on where it stopped\n"),
        (
            "corpus corpus.txt --tokenizer words --out prepared",
            "alembert: interrupted; the same command goes on where it stopped\n",
        ),
        ("predict teacher good", "alembert: interrupted\n"),
        ("serve teacher", ""),
    ],
)
def test_what_is_interrupted_says_so_in_a_line(
    line: str, says: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    # first, so that no room is loaded while the others are in place, and keeps them
    for room in (stage, checks, torch_session):
        monkeypatch.setattr(room, "load_config", interrupted)
    monkeypatch.setattr("alembert.models.loading.load_config", interrupted)
    monkeypatch.setattr("alembert.models.loading.load_tokenizer", interrupted)
    monkeypatch.setattr("alembert.inference.session.model_folder", interrupted)
    capsys.readouterr()
    assert command(line, monkeypatch) == 130
    assert capsys.readouterr().err == says


def test_a_cache_that_cannot_be_written_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "train.csv"))
    assert command(f"{WORDS} --max-length 32", monkeypatch) == 2
    says = r"alembert: \S+/train\.csv/alembert/corpus: cannot be written \(.*\): .*XDG_CACHE_HOME\n"
    assert re.fullmatch(says, capsys.readouterr().err)
    assert not Path("run").exists()


def test_a_text_of_100_kb_is_cut_and_that_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("long.csv").write_text(Path("train.csv").read_text() + "very good " * 10_000 + ",up\n")
    assert command(f"{DISTIL} --train long.csv", monkeypatch) == 0
    said = capsys.readouterr()
    assert "1 of 61 texts are longer than 32 tokens and cut there: --max-length\n" in said.out
    assert said.err == ""
    assert command("evaluate run --data long.csv --max-length 32 --json", monkeypatch) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"\{[^\n]*\}\n", said.out)
    assert said.err == "1 of 61 texts are longer than 32 tokens and cut there: --max-length\n"


def full(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    """The function on a disk that takes no more, where an argument names this part of a path."""

    def limited(*given: Any, **more: Any) -> Any:
        if not any(part in str(value) for value in given):
            return function(*given, **more)
        least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
        try:
            return function(*given, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))

    return limited


BOTH = f"{DISTIL} --general-teacher words --corpus corpus.txt --set stages.general.steps=2"


@pytest.mark.parametrize(
    ("what", "part", "says"),
    [
        (
            "alembert.training.checkpoint.save_file",
            "02-",
            "run/stages/02-task/checkpoint/best.safetensors",
        ),
        ("transformers.PreTrainedModel.save_pretrained", "02-task", "run/stages/02-task/model"),
        (
            "alembert.runs.folder.shutil.copyfile",
            "model.safetensors",
            "run/student/model.safetensors",
        ),
        ("alembert.training.monitor.Log.note", "accuracy", "run/stages/02-task/log.jsonl"),
        ("alembert.io.files.write_text", "metrics.json", "run/metrics.json"),
    ],
)  # fmt: skip
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_later(
    what: str,
    part: str,
    says: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        module, _, name = what.rpartition(".")
        patch.setattr(what, full(getattr(pkgutil.resolve_name(module), name), part))
        assert command(BOTH, monkeypatch) == 2
    printed = capsys.readouterr().err
    why = r"cannot be written \(.*File too large.*\): free some space .*"
    line = rf"alembert: {re.escape(says)}: {why}\n"
    assert re.fullmatch(line, printed), printed
    assert not list(Path("run").rglob("*.partial"))
    first = Path("run/stages/01-general/model/model.safetensors").read_bytes()
    assert command(BOTH, monkeypatch) == 0
    said = capsys.readouterr()
    assert "stage 'general': done" not in said.out
    assert said.err == ""
    assert Path("run/stages/01-general/model/model.safetensors").read_bytes() == first


def test_a_disk_full_from_the_start_leaves_no_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder, "open_run", full(folder.open_run, "run"))
    assert command(DISTIL, monkeypatch) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"alembert: run/environment\.json: cannot be written \(.*\): .*\n", said)
    assert not Path("run").exists()
