"""Runs all probes on one installed side, one after the other, and keeps what each was seen to do.

It is a process of its own. Each command line is a child of it, forked when the large packages that
both sides need are loaded, which saves seconds a command.
"""

import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import shlex
import shutil
import signal
import sys
import time
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import probes, seen, serving, words
from .noise import quiet
from .probes import Probe

LIMIT = 180.0  # seconds a command
WARM = (
    "torch", "transformers.modeling_utils", "transformers.trainer_utils", "accelerate", "datasets",
    "pandas", "sklearn.metrics", "scipy.stats", "pyarrow.parquet", "pydantic", "rich.console",
    "typer", "matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2", "onnx", "onnxruntime",
    "onnxscript", "torch.onnx", "torch.export", "openvino", "nncf", "optuna", "fastapi", "uvicorn",
    "httpx", "prometheus_client", "seqeval.metrics", "torch.distributed.fsdp",
    *(f"transformers.models.{name}.modeling_{name}" for name in (
        "bert", "distilbert", "mobilebert", "roberta", "auto")),
)  # fmt: skip


class Worker:
    """The installed side: its folder, its command's name and entry point, its words."""

    def __init__(self, home: Path, house: Path, script: str, renames: list[list[str]]) -> None:
        self.home, self.house = home, house
        self.script, _, self.entry = script.partition("=")
        self.renames = [words.Rename(*each) for each in renames]
        self.name = self.entry.split(".")[0]
        package = importlib.import_module(self.name)
        assert Path(package.__path__[0]).is_relative_to(home), f"{package.__path__} is in the way"
        for module in pkgutil.walk_packages(package.__path__, f"{self.name}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):
                    importlib.import_module(module.name)
        self.recipe = ""

    def probe(self, probe: Probe) -> dict[str, str]:
        """What a probe is seen to do: what each command says, then the files by their names."""
        place = self.home / "here"
        for folder in (place, self.home / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        for item in self.house.iterdir():
            if any(re.search(rf"(?<![\w-]){re.escape(item.name)}\b", x) for x in probe.lines):
                copy = shutil.copytree if item.is_dir() else shutil.copy2
                copy(item, place / item.name)
        for name, content in probe.files.items():
            name = self._here(name)
            if name.endswith("/"):
                (place / name).mkdir(parents=True)
            else:
                self._write(place / name, content)
        before = seen.stamps(place)
        found: dict[str, str] = {}
        for number, line in enumerate(probe.run, 1):
            if number == 1 and probe.stop:
                found[f"said {number}"] = self._stopped(probe, place, line)
                continue
            stdin = probe.stdin if number == len(probe.run) else ""
            found[f"said {number}"] = self._said(probe, place, line, stdin)
        if probe.serve:
            found |= self._served(probe, place)
        found |= seen.files_of(place, before)
        return {
            name: quiet(text, self.home, self.renames)
            for name, text in found.items()
            if not any(fnmatch(name, self._here(pattern)) for pattern in probe.ignore)
        }

    def _here(self, text: str) -> str:
        """What belongs to a probe, in this side's words."""
        return words.translated(text, self.renames, "commands")

    def _write(self, path: Path, content: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("hex:"):
            path.write_bytes(bytes.fromhex(content[4:]))
            return
        content = self._here(content)
        path.write_text(
            content.replace("{recipe}", self._recipe() if "{recipe}" in content else "")
        )

    def _recipe(self) -> str:
        """A recipe as this side writes it, made once."""
        if not self.recipe:
            place = self.home / "recipe"
            place.mkdir()
            shutil.copytree(self.house / "bert-classes", place / "bert-classes")
            line = "recipes show distilbert --teacher bert-classes"
            self._run(Probe("", ""), place, line)
            self.recipe = (self.home / "out").read_text()
        return self.recipe

    def _said(self, probe: Probe, place: Path, line: str, stdin: str) -> str:
        if line.startswith(("rm ", "cut ")):
            return _spoilt(line, place / self._here(line.split()[1]))
        code = self._run(probe, place, line, stdin)
        said = f"exit code {code}\n"
        for name in ("out", "err"):
            text = (self.home / name).read_text(errors="backslashreplace")
            text = text if text.startswith("{") else folded(text)
            said += f"{name}: {text}\n" if text else ""
        return said

    def _run(self, probe: Probe, place: Path, line: str, stdin: str = "") -> str:
        child = self._forked(probe, place, line, stdin)
        return self._ended(child)

    def _ended(self, child: int) -> str:
        """Its exit code. What does not end is killed, and so is what it leaves behind."""
        end = time.monotonic() + LIMIT
        try:
            while time.monotonic() < end:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    return str(os.waitstatus_to_exitcode(status))
                time.sleep(0.002)
            return "none in time"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)

    def _forked(self, probe: Probe, place: Path, line: str, stdin: str = "") -> int:
        (self.home / "in").write_text(stdin)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                for number, name in enumerate(("in", "out", "err")):
                    flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if number else 0)
                    os.dup2(os.open(self.home / name, flags, 0o644), number)
                os.chdir(place)
                self._called(probe, self._here(line))
            finally:
                os._exit(99)  # never back into the worker's own loop
        return child

    def _called(self, probe: Probe, line: str) -> None:
        """The command, in the child; ends the process."""
        os.environ |= probe.environment
        if probe.without:
            anew = (*probe.without, self.name)
            for name in [each for each in sys.modules if each.split(".")[0] in anew]:
                del sys.modules[name]
            sys.modules |= dict.fromkeys(probe.without)  # type: ignore[arg-type]  # None: refused
        if probe.bytes:
            most = (int(probe.bytes), resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_FSIZE, most)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sys.argv = [self.script, *shlex.split(line)]
        sys.modules["__main__"].__package__ = None  # a usage line would name it
        code: Any = 0
        module, _, function = self.entry.partition(":")
        try:
            getattr(importlib.import_module(module), function)()
        except SystemExit as end:
            code = end.code
        except BaseException as error:  # where it was raised may move
            print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
            code = 1
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)

    def _stopped(self, probe: Probe, place: Path, line: str) -> str:
        """The command until a file is there, or has so many lines; then a signal ends it."""
        child = self._forked(probe, place, line)
        wanted, lines = self._here(probe.stop["file"]), int(probe.stop.get("lines", 0))
        end, ran = time.monotonic() + LIMIT, True
        while time.monotonic() < end and not _there(place, wanted, lines):
            done, _ = os.waitpid(child, os.WNOHANG)
            if done:
                ran = False
                break
            time.sleep(0.0005)
        said = f"stopped at {probe.stop['file']} {lines}: {'yes' if ran else 'it had ended before'}"
        if ran:
            name = probe.stop.get("signal", "SIGKILL")
            os.kill(child, getattr(signal, name))
            code = self._ended(child)
            if name != "SIGKILL":
                said += f"\nexit code {code}\n{(self.home / 'err').read_text()}"
        return said

    def _served(self, probe: Probe, place: Path) -> dict[str, str]:
        child = self._forked(probe, place, probe.serve)
        try:
            found = serving.answers(self.home / "err", probe.requests, self.renames)
        finally:
            os.kill(child, signal.SIGTERM)
            code = self._ended(child)
        said = (self.home / "err").read_text()
        log = seen.flat_lines((self.home / "out").read_text())
        return found | {"said at the end": f"exit code {code}\n{said}", "log": log}


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


def _there(place: Path, wanted: str, lines: int) -> bool:
    for path in place.glob(wanted):
        with suppress(OSError):
            if not lines or path.read_bytes().count(b"\n") >= lines:
                return True
    return False


def folded(text: str) -> str:
    """Text in which a line that is indented by three or more goes on with the one above it.

    A help text's line breaks depend on the length of its words.
    """
    return re.sub(r"[ \t]{2,}", "  ", re.sub(r"\n {3,}", "  ", text)).rstrip()


def _warm(house: Path) -> None:
    """Load what every command would load; what is loaded is then no work for its collector."""
    for name in WARM:
        with suppress(ImportError):
            importlib.import_module(name)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    for name in ("bert-classes", "teacher-distilbert"):
        AutoTokenizer.from_pretrained(house / name)
        AutoModelForSequenceClassification.from_pretrained(house / name)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Run the probes that the file `task.json` in the side's folder names."""
    home = Path(sys.argv[1]).resolve()
    task = json.loads((home / "task.json").read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its child is ended, too
    worker = Worker(home, Path(task["house"]), task["script"], task["renames"])
    _warm(Path(task["house"]))
    found, times = probes.read(only=task["only"]), dict[str, float]()
    (home / "seen").mkdir()
    for number, probe in enumerate(found):
        if number == 0 or probe.topic != found[number - 1].topic:
            print(f"{home.name[:4]}: {probe.topic}", flush=True)
        began = time.monotonic()
        content = {"title": probe.title, "seen": worker.probe(probe)}
        times[probe.title] = round(time.monotonic() - began, 2)
        (home / "seen" / f"{number:04}.json").write_text(json.dumps(content))
    (home / "times.json").write_text(json.dumps(times, indent=1))  # which probes are slow
    (home / "done").touch()


if __name__ == "__main__":
    main()
