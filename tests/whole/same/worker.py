"""Runs all probes on one installed side, one after the other, and keeps what each was seen to do.

It is a process of its own. It loads the package and the large ones that this needs, and forks a
child for each command line: that saves seconds a command.
"""

import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import shutil
import signal
import sys
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from threading import RLock

from tqdm import tqdm

from . import child, probes, seen, serving, words
from .noise import quiet
from .probes import Probe

WARM = """torch transformers.modeling_utils transformers.trainer_utils accelerate datasets pandas
sklearn.metrics scipy.stats pyarrow.parquet pydantic rich.console typer matplotlib.figure
matplotlib.backends.backend_svg jinja2 onnx onnxruntime onnxscript torch.onnx torch.export openvino
nncf fastapi uvicorn httpx prometheus_client seqeval.metrics torch.distributed.fsdp"""
MODELS = ("bert-classes", "teacher-distilbert", "teacher-mobilebert")


class Worker:
    """The installed side: its folder, the house's, its entry point, its renamed words."""

    def __init__(self, home: Path, house: Path, entry: str, renames: list[list[str]]) -> None:
        self.home, self.house, self.entry = home, house, entry
        self.renames = tuple(words.Rename(*each) for each in renames)
        self.recipe = ""

    def probe(self, probe: Probe) -> dict[str, str]:
        """What a probe is seen to do: what each command says, then the files by their names."""
        place, cache = self.home / "here", self.home / "cache"
        for folder in (place, cache):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        for item in self.house.iterdir():
            if any(re.search(rf"(?<![\w-]){re.escape(item.name)}\b", x) for x in probe.lines):
                copy = shutil.copytree if item.is_dir() else shutil.copy2
                copy(item, place / item.name)
        for name, content in probe.files.items():
            self._write(place / self._own(name), content, folder=name.endswith("/"))
        before = seen.stamps(place)
        found: dict[str, str] = {}
        for number, line in enumerate(probe.run, 1):
            last = number == len(probe.run)
            found[f"said {number}"] = (
                self._stopped(probe, place, line)
                if number == 1 and probe.stop
                else self._said(probe, place, line, probe.stdin if last else "")
            )
        if probe.serve:
            found |= self._served(probe, place)
        found |= seen.files_of(place, before)
        return {
            name: quiet(text, self.home, self.renames)
            for name, text in found.items()
            if not any(fnmatch(name, self._own(pattern)) for pattern in probe.ignore)
        }

    def _own(self, text: str) -> str:
        """What belongs to a probe, in this side's words."""
        return words.translated(text, self.renames, "commands")

    def _write(self, path: Path, content: str, folder: bool) -> None:
        if folder:
            path.mkdir(parents=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("hex:"):
            path.write_bytes(bytes.fromhex(content[4:]))
            return
        recipe = self._recipe() if "{recipe}" in content else ""
        path.write_text(self._own(content).replace("{recipe}", recipe))

    def _recipe(self) -> str:
        """A recipe as this side writes it, made once."""
        if not self.recipe:
            line = self._own("recipes show distilbert --teacher bert-classes")
            child.ended(child.start(line, self.entry, self.house, self.home, Probe("", "")))
            self.recipe = (self.home / "out").read_text()
        return self.recipe

    def _said(self, probe: Probe, place: Path, line: str, stdin: str) -> str:
        if line.startswith(("rm ", "cut ")):
            return _spoilt(line, place / self._own(line.split()[1]))
        code = child.ended(self._start(probe, place, line, stdin))
        said = f"exit code {code}\n"
        for name in ("out", "err"):
            text = (self.home / name).read_text(errors="backslashreplace")
            text = text if text.startswith("{") else _folded(text)
            said += f"{name}: {text}\n" if text else ""
        return said

    def _start(self, probe: Probe, place: Path, line: str, stdin: str = "") -> int:
        return child.start(self._own(line), self.entry, place, self.home, probe, stdin)

    def _stopped(self, probe: Probe, place: Path, line: str) -> str:
        """Of a command that is killed nothing is kept, for nobody knows how far it came."""
        stop = {"lines": 0, "signal": "SIGKILL"} | probe.stop
        wanted = self._own(stop["file"])
        running = self._start(probe, place, line)
        code = child.stopped(running, wanted, stop["lines"], place, stop["signal"])
        said = "" if stop["signal"] == "SIGKILL" else (self.home / "err").read_text()
        return f"stopped: {'it had ended before' if code is None else f'exit code {code}'}\n{said}"

    def _served(self, probe: Probe, place: Path) -> dict[str, str]:
        running = self._start(probe, place, probe.serve)
        try:
            found = serving.answers(self.home / "err", probe.requests, self.renames)
        finally:
            os.kill(running, signal.SIGTERM)
            code = child.ended(running)
        said = f"exit code {code}\n{(self.home / 'err').read_text()}"
        rows = (self.home / "out").read_text().splitlines()
        # how often it was asked whether it is up is chance
        log = seen.flat_lines("\n".join(row for row in rows if serving.HEALTH not in row))
        return found | {"said at the end": said, "log": log}


def _spoilt(line: str, path: Path) -> str:
    """Remove a file or folder, or cut a file to its first half."""
    if not path.exists():
        return f"{line}: it is not there"
    if line.startswith("cut "):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return line


def _folded(text: str) -> str:
    """Text in which a line that is indented by three or more goes on with the one above it.

    A help text's line breaks depend on the length of its words.
    """
    return re.sub(r"[ \t]{2,}", "  ", re.sub(r"\n {3,}", "  ", text)).rstrip()


def _warm(package: str, home: Path, house: Path) -> None:
    """Load what every command would load; the collector of a child has no work with it then."""
    own = importlib.import_module(package)
    assert Path(own.__path__[0]).is_relative_to(home), f"{own.__path__} is in the way"
    modules = [each.name for each in pkgutil.walk_packages(own.__path__, f"{package}.")]
    for name in (*WARM.split(), *modules):
        with suppress(ImportError):
            if not name.endswith("__main__"):
                importlib.import_module(name)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    for name in MODELS:
        AutoTokenizer.from_pretrained(house / name)
        AutoModelForSequenceClassification.from_pretrained(house / name)
    gc.collect()
    gc.freeze()


def _spent() -> float:
    """Seconds of CPU time of all children so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    """Run the probes that the file `task.json` in the side's folder asks for."""
    home = Path(sys.argv[1]).resolve()
    task = json.loads((home / "task.json").read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its child is ended, too
    house, entry = Path(task["house"]), str(task["entry"])
    _warm(entry.partition("=")[2].split(".")[0], home, house)
    tqdm.set_lock(RLock())  # its own is shared with children, of which one is killed holding it
    worker = Worker(home, house, entry, task["renames"])
    found, times = probes.read(only=task["only"]), dict[str, float]()
    (home / "seen").mkdir()
    for number, probe in enumerate(found):
        if number == 0 or probe.topic != found[number - 1].topic:
            print(f"{home.name[:4]}: {probe.topic}", flush=True)
        began = _spent()
        content = {"title": probe.title, "seen": worker.probe(probe)}
        times[probe.title] = round(_spent() - began, 2)
        (home / "seen" / f"{number:04}.json").write_text(json.dumps(content))
    (home / "seconds.json").write_text(json.dumps(times, indent=1))  # which probes are slow
    (home / "done").touch()


if __name__ == "__main__":
    main()
