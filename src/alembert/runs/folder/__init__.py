"""A run's folder: what it was started with, the files written to it, and repair of damaged ones.

Read `identity` first: the inputs by content, which a command for the same folder must share.
`writing` writes the files, each with a checksum; `repair` names damaged ones when a run resumes,
and copies them again or removes them, so that the run makes them again. `cleaning` removes what
only resuming needs.

`origin` follows the folders back to the model that was there before a task trained it.

For other rooms: cleaning, identity, writing.
"""

from alembert.io import checksums

RECIPE, ENVIRONMENT, METRICS = "recipe.yaml", "environment.json", "metrics.json"
LOG, FACTS = "log.jsonl", "facts.json"  # of a stage
STAGES = "stages"  # a folder for each
UNDISTILLED, TEACHER = "undistilled", "teacher"  # folders of their own runs
SKIPPED = "skipped_rows.json"  # what --skip-bad-rows left out
CHOSEN = "chosen.yaml"  # the recipe with the objectives that held-out texts chose
RESULTS = (METRICS, "predictions.parquet", "bench.json", CHOSEN)  # made when the stages are trained
OF_RUN = (  # in the folder of a run, beside its student or the files of a fine-tuned model
    RECIPE, ENVIRONMENT, SKIPPED, *RESULTS, checksums.FILE, "report.html", STAGES, "vocabulary",
    "searched", UNDISTILLED, TEACHER, "augmented-*", ".lock", "*.partial",
)  # fmt: skip
ANOTHER = "choose another --out, or delete the folder"
