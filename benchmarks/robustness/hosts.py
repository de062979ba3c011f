"""Two hosts as network namespaces of this machine; one is cut off, one dies, both come back.

    OMP_NUM_THREADS=1 python -m benchmarks.robustness.hosts --out FILE      (as root)

A tiny run of DistilBERT's task stage by torchrun, a process a host, over a veth pair of its own.
First the link is down for some seconds; then host b goes down with all its processes, and the same
command is given there again. What is logged is held against the same run of one process. Makes
two namespaces and removes them. Exits with 1 where a loss parts by more than 1e-4.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembert.training import loop
from benchmarks.lab.results import arguments, write
from benchmarks.lab.tiny import lay_out, work
from benchmarks.lab.workers import environment, measured
from benchmarks.robustness.children import put
from benchmarks.robustness.several import LIMIT, apart, losses

HOSTS = {"a": "10.77.0.1", "b": "10.77.0.2"}
CUT = 10.0  # seconds
# torchrun tells the address of its store in the first round only, and a new host asks in a later
SAFE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def hosts() -> Iterator[None]:
    """Namespaces alembert-a and alembert-b, joined by alembert-va and alembert-vb."""
    try:
        for name in HOSTS:
            ip("netns", "add", f"alembert-{name}")
        ip("link", "add", "alembert-va", "type", "veth", "peer", "name", "alembert-vb")
        for name, address in HOSTS.items():
            inside = ("-n", f"alembert-{name}")
            ip("link", "set", f"alembert-v{name}", "netns", f"alembert-{name}")
            ip(*inside, "address", "add", f"{address}/24", "dev", f"alembert-v{name}")
            ip(*inside, "link", "set", f"alembert-v{name}", "up")
            ip(*inside, "link", "set", "lo", "up")
        yield
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", f"alembert-{name}"], check=False)


def link(state: str) -> None:
    ip("-n", "alembert-b", "link", "set", "alembert-vb", state)


def start(name: str, mine: list[str], out: Path) -> subprocess.Popen[bytes]:
    """torchrun on a host; what it says goes to a file beside its run."""
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--max-restarts", "3", "--rdzv-backend", "c10d", "--rdzv-id", "hosts",
        "--rdzv-endpoint", f"{HOSTS['a']}:29400", "--local-addr", HOSTS[name],
        "--rdzv-conf", f"is_host={int(name == 'a')}",
    ]  # fmt: skip
    said = out.with_name(f"{name}.log").open("ab")
    return subprocess.Popen(
        ["ip", "netns", "exec", f"alembert-{name}", *torchrun, *mine],
        env=environment(**SAFE, GLOO_SOCKET_IFNAME=f"alembert-v{name}", OMP_NUM_THREADS="1"),
        stdout=said, stderr=said, start_new_session=True,
    )  # fmt: skip


def kill(name: str) -> None:
    """All processes of a host, at once."""
    pids = subprocess.run(
        ["ip", "netns", "pids", f"alembert-{name}"], capture_output=True, text=True, check=False
    ).stdout.split()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)


def logged(out: Path) -> int:
    """The last step in the log."""
    return max((step for rows in losses(out / "distilbert").values() for step in rows), default=0)


def waited(until: Callable[[], bool], seconds: float = 240) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not until():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.1)
    return time.monotonic() - began


def cut_and_lose(mine: list[str], out: Path, steps: int) -> dict[str, Any]:
    """The run, with its two accidents; what was seen of them."""
    found: dict[str, Any] = {"cut_s": CUT}
    first, other = start("a", mine, out), start("b", mine, out)
    waited(lambda: logged(out) >= steps // 5)
    link("down")
    time.sleep(CUT / 2)
    found["step_when_cut"] = cut = logged(out)
    time.sleep(CUT / 2)
    found["steps_while_cut"] = logged(out) - cut
    link("up")
    found["on_again_after_s"] = round(waited(lambda: logged(out) > cut), 1)
    found["workers_ended_by_the_cut"] = sum(p.poll() is not None for p in (first, other))
    waited(lambda: logged(out) >= steps // 2)
    link("down")
    kill("b")
    other.wait()
    time.sleep(CUT)
    found["step_when_lost"] = lost = logged(out)
    link("up")
    other = start("b", mine, out)
    found["on_again_with_a_new_host_after_s"] = round(waited(lambda: logged(out) > lost), 1)
    found["ends"] = [p.wait(240) for p in (first, other)]
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--home", type=Path, help="a new folder to keep the runs and what they said"
    )
    parser.add_argument("--work", type=Path, help="of one process: models and files")
    given = parser.parse_args()
    if given.work:
        put(loop, "SAVE_SECONDS", 2.0)
        work(given.work, given.out, given.steps, ["distilbert"])
        return
    with tempfile.TemporaryDirectory() as place:
        home = (given.home or Path(place)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        os.environ["XDG_CACHE_HOME"] = str(home / "cache")
        lay_out(home, rows=57, judged=12, lines=45)
        name = "benchmarks.robustness.hosts"
        mine = ["-m", name, "--work", str(home), "--steps", str(given.steps), "--out"]
        measured([*mine, str(home / "one")], home / "one.log")
        with hosts():
            try:
                found = cut_and_lose([*mine, str(home / "two")], home / "two", given.steps)
            finally:
                for name in HOSTS:
                    kill(name)
        parted = apart(*(home / way / "distilbert" for way in ("one", "two")))
        found = {"steps": given.steps, **found, "losses_apart": max(parted.values())}
    print(json.dumps(found, indent=1))
    write(given.out, found)
    sys.exit(found["losses_apart"] > LIMIT)


if __name__ == "__main__":
    main()
