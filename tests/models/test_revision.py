"""The digest of a model of the hub is the revision that lies in the hub's cache."""

import os
import subprocess
import sys
from pathlib import Path

from support.models import tiny

DIGEST = "from alembert.models.loading import digest_of; print(digest_of('org/tiny'))"


def test_a_model_of_the_hub_is_known_by_its_revision(tmp_path: Path) -> None:
    home, revision = tmp_path / "hub" / "models--org--tiny", "a" * 40
    tiny("bert", "classification").save_pretrained(home / "snapshots" / revision)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(revision)
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", DIGEST]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.stdout == f"revision {revision}\n", found.stderr
