"""The net under changes: what it sees, what it lets pass, and in which words it reads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from whole.same import probes, seen, show, words
from whole.same.compare import Difference, differences, meant, unmeant
from whole.same.install import NET, TREE, Side
from whole.same.noise import quiet

RUN = "runs: distilbert on classes"
LOG = "run/stages/01-task/log.jsonl"
BASE = {
    RUN: {"files": f"run/metrics.json\n{LOG}", LOG: "row 1.loss = 0.6931471805599453"},
    "help: distill": {"said 1": "exit code 0\n--eval <str>  texts that judge the result"},
    "refusals: no file": {"said 1": "exit code 2\nerr: nowhere.csv: no such file"},
}


def changed(probe: str, file: str, text: str) -> dict[str, dict[str, str]]:
    return {**BASE, probe: {**BASE[probe], file: text}}


def found(head: dict[str, dict[str, str]], *renames: words.Rename) -> list[Difference]:
    return list(differences(BASE, head, renames))


def test_what_is_alike_differs_in_nothing() -> None:
    assert found(BASE) == []


@pytest.mark.parametrize(
    ("probe", "file", "text", "lines"),
    [
        (
            RUN,
            LOG,
            "row 1.loss = 0.6931471805599454",
            ("- row 1.loss = 0.6931471805599453", "+ row 1.loss = 0.6931471805599454"),
        ),
        (
            "help: distill",
            "said 1",
            "exit code 0\n--eval <str>  texts that judge",
            ("- --eval <str>  texts that judge the result", "+ --eval <str>  texts that judge"),
        ),
        (
            "refusals: no file",
            "said 1",
            "exit code 2\nerr: nowhere.csv: there is no such file",
            (
                "- err: nowhere.csv: no such file",
                "+ err: nowhere.csv: there is no such file",
            ),
        ),
        (RUN, "files", LOG, ("- run/metrics.json",)),
    ],
    ids=["a digit", "a help text", "a refusal", "a missing file"],
)
def test_one_change_is_seen(probe: str, file: str, text: str, lines: tuple[str, ...]) -> None:
    assert found(changed(probe, file, text)) == [Difference(probe, file, lines)]


def test_a_file_or_a_probe_on_one_side_alone_is_seen() -> None:
    more = {**BASE, RUN: {**BASE[RUN], "run/bench.json": "rows = []"}}
    assert found(more) == [Difference(RUN, "run/bench.json", ("+ only in HEAD",))]
    fewer = {title: texts for title, texts in BASE.items() if title != "help: distill"}
    assert found(fewer) == [Difference("help: distill", "said 1", ("- only in BASE",))]


def test_a_difference_with_its_reason_is_let_pass_and_no_other() -> None:
    head = changed(RUN, LOG, "row 1.loss = 0.7\nrow 1.norm = 1.0")
    wanted = meant("- {probe: 'runs: *', file: '*.jsonl', lines: norm, reason: it is logged now}")
    [left] = unmeant(iter(found(head)), wanted)
    assert left.lines == ("- row 1.loss = 0.6931471805599453", "+ row 1.loss = 0.7")
    assert wanted[0].passed == 1
    assert list(unmeant(iter(found(head)), meant("- {file: '*.jsonl', reason: rebuilt}"))) == []


@pytest.mark.parametrize("reason", ["", "reason: ''", "reason: '  '"])
def test_a_difference_without_a_reason_is_refused(reason: str) -> None:
    with pytest.raises(words.TableError, match="has no reason"):
        meant(f"- {{probe: 'runs: *', {reason}}}")


def test_a_row_that_nothing_needs_any_more_is_named() -> None:
    wanted = meant("- {file: 'gone.json', reason: it went}")
    assert list(unmeant(iter(found(BASE)), wanted)) == []
    printed = "\n".join(show.shown([], wanted, 3, whole=True))
    assert "listed in meant.yaml and nowhere found: *, gone.json: it went" in printed
    assert "0 of 3 probes differ, in 0 files; 0 changed lines are meant" in printed
    assert "gone.json" not in "\n".join(show.shown([], wanted, 3, whole=False))


def test_what_the_list_of_base_has_is_no_difference_to_it() -> None:
    row = "- {file: a.json, reason: first}\n"
    assert meant(row + "- {file: b.json, reason: second}", base=row) == meant(
        "- {file: b.json, reason: second}"
    )


def test_base_is_read_in_the_words_of_head() -> None:
    renames = words.read("- {old: --eval, new: --test}\n- {old: log.jsonl, new: log.json}")
    new = LOG.replace(".jsonl", ".json")
    head = {
        **BASE,
        RUN: {"files": f"run/metrics.json\n{new}", new: BASE[RUN][LOG]},
        "help: distill": {"said 1": "exit code 0\n--test <str>  texts that judge the result"},
    }
    assert found(head, *renames) == []
    assert len(found(head)) == 4


def test_a_word_is_no_part_of_another_and_none_is_renamed_twice() -> None:
    renames = words.read(
        "- {old: --eval, new: --test}\n- {old: a, new: b}\n- {old: b, new: c}\n"
        "- {old: kept texts, new: held-out texts}\n- {old: texts, new: rows, where: texts}"
    )
    line = "--eval --evaluations x--eval a b a.b kept texts texts"
    assert words.translated(line, renames, "texts") == (
        "--test --evaluations x--eval b c b.c held-out texts rows"
    )
    assert words.translated("--eval=1 texts", renames, "commands") == "--test=1 texts"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("- {old: a}", "has no new"),
        ("- {old: a, new: b, why: c}", "no field 'why'"),
        ("- {old: a, new: b, where: here}", "where is 'here'"),
    ],
)
def test_a_wrong_table_is_refused(table: str, says: str) -> None:
    with pytest.raises(words.TableError, match=says):
        words.read(table)


def test_noise_goes_by_its_name_in_old_words_and_in_new_ones() -> None:
    text = "seconds = 1.5\nloss = 1.5\n/at/home/run: 3.2 s, http://127.0.0.1:8123"
    assert quiet(text, Path("/at/home"), ()) == (
        "seconds = TIME\nloss = 1.5\nHOME/run: TIME s, http://127.0.0.1:PORT"
    )
    renames = words.read("- {old: seconds, new: duration}")
    assert quiet("duration = 1.5", Path("/at/home"), renames) == "duration = TIME"
    assert quiet("duration = 1.5", Path("/at/home"), ()) == "duration = 1.5"


def test_files_become_lines_to_the_last_digit(tmp_path: Path) -> None:
    before = seen.stamps(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text(json.dumps({"loss": 0.1 + 0.2, "step": [1, 2]}))
    (tmp_path / "run" / "page.html").write_text("<style>a</style><p>a &lt; b</p><i>c</i>")
    read = seen.files_of(tmp_path, before)
    assert read["files"] == "run/log.jsonl\nrun/page.html"
    assert read["run/log.jsonl"].splitlines() == [
        "row 1.loss = 0.30000000000000004",
        "row 1.step.0 = 1",
        "row 1.step.1 = 2",
    ]
    assert read["run/page.html"].splitlines()[1:] == ["a < b", "c"]
    before = seen.stamps(tmp_path)
    (tmp_path / "run" / "page.html").unlink()
    assert seen.files_of(tmp_path, before) == {"files": "run/page.html (gone)"}


def test_differences_of_one_file_are_printed_together_and_counted() -> None:
    one = Difference(RUN, LOG, ("- loss = 1", "+ loss = 2"))
    other = Difference("runs: tinybert on tags", LOG, ("- loss = 3", "+ loss = 4"))
    printed = "\n".join(show.shown([one, other], (), 9, whole=True))
    assert f"runs: {LOG} differs in 2 probes: distilbert on classes; tinybert on tags" in printed
    assert "    - loss = 1\n    + loss = 2\n    - loss = 3" in printed
    assert "2 of 9 probes differ, in 2 files" in printed


def test_every_probe_can_be_read_and_both_lists_too() -> None:
    read = probes.read()
    assert len(read) > 500
    assert {probe.topic for probe in read} >= {"runs", "stops", "answers", "server", "help"}
    assert [probe for probe in read if "<" in probe.name and ">" in probe.name] == []
    words.read((NET / "words.yaml").read_text())
    meant((NET / "meant.yaml").read_text())


def test_the_command_of_a_commit_is_found_in_its_project(tmp_path: Path) -> None:
    name, _, place = Side(TREE, tmp_path).entry.partition("=")
    assert name == "alembert"
    assert place.startswith("alembert.")
    assert ":" in place


def test_clocks_tick_alike_however_long_something_takes(tmp_path: Path) -> None:
    program = (
        "import time; a = time.perf_counter(); time.sleep(0.01); b = time.process_time(); "
        "print((b - a) * 512, time.perf_counter_ns() - int(1e9 * b))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(NET / "clock")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1.0", "1953125"]
