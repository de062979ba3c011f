"""The least that answers texts: a tokenizer and a graph in a loop, to compare a whole tool with.

    python -m benchmarks.cpu.bare_loop MODEL TEXTS.json ANSWERS.json

A thousand texts at a time are encoded, batched by length as Session does it, and run on one thread
with its options; labels and scores are kept. Prints the seconds of CPU and of the clock since the
process began, without the writing of the answers.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from alembert.inference.batching import plan
from alembert.inference.manifest import exported_folder, read_manifest

CHUNK = 1000  # texts that are encoded and batched together
TOKENS = 512  # of a batch, as Session has it
Answers = list[tuple[str, float]]


def answered(model: Path, texts: list[str]) -> Answers:
    """Return the label and the score of each text."""
    folder = exported_folder(model)
    facts = read_manifest(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = onnxruntime.InferenceSession(
        str(folder / facts.variant(None, folder).file), options,
        providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"],
    )  # fmt: skip
    takes, gives = [each.name for each in graph.get_inputs()], [graph.get_outputs()[0].name]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(facts.max_length)
    answers: Answers = []
    for start in range(0, len(texts), CHUNK):
        ids = [each.ids for each in tokenizer.encode_batch(texts[start : start + CHUNK])]
        found: Answers = [("", 0.0)] * len(ids)
        for batch in plan([len(each) for each in ids], TOKENS):
            inputs = {name: np.zeros((len(batch), len(ids[batch[0]])), np.int64) for name in takes}
            for n, row in enumerate(batch):
                inputs["input_ids"][n, : len(ids[row])] = ids[row]
                inputs["attention_mask"][n, : len(ids[row])] = 1
            logits = np.asarray(graph.run(gives, inputs)[0], np.float64)
            odds = np.exp(logits - logits.max(1, keepdims=True))
            odds /= odds.sum(1, keepdims=True)
            for row, best, score in zip(batch, odds.argmax(1), odds.max(1), strict=True):
                found[row] = facts.labels[best], float(score)
        answers += found
    return answers


def main() -> None:
    began = time.perf_counter()
    model, texts, out = map(Path, sys.argv[1:])
    answers = answered(model, json.loads(texts.read_text(encoding="utf-8")))
    print(json.dumps({"cpu_s": time.process_time(), "seconds": time.perf_counter() - began}))
    out.write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
