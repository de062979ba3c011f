"""Files beside an export by which other tools know how a sentence vector is made of its tokens.

sentence-transformers and text-embeddings-inference read modules.json and 1_Pooling/config.json;
`models.heads.pooling_of` reads them too. All else that these tools and Transformers.js look for is
there already: config.json, tokenizer.json, tokenizer_config.json, and the graphs in onnx/.
"""

from pathlib import Path

from alembert.io.files import write_json

MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
POOLINGS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}


def describe_pooling(folder: Path, pooling: str, width: int, max_length: int) -> None:
    """Write what is missing of the files on an encoder's pooling; those that are there stay.

    pooling is mean or cls, with "+norm" where vectors get length 1; width is that of a vector.
    """
    names = [name for name in MODULES if name != "Normalize" or pooling.endswith("+norm")]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": MODULES[name],
            "type": f"sentence_transformers.models.{name}",
        }
        for number, name in enumerate(names)
    ]
    modes = {field: pooling.startswith(name) for name, field in POOLINGS.items()}
    contents = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": width, **modes},
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
    }
    for name, content in contents.items():
        if not (folder / name).is_file():
            write_json(folder / name, content)
    if "Normalize" in names:
        (folder / MODULES["Normalize"]).mkdir(exist_ok=True)
