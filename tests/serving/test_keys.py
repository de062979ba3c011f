"""API keys: names, rates, and a file that is read again when it changes."""

import asyncio
import hmac
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.serving import counting, made_up, running

from alembert.io.errors import UserError
from alembert.serving import keys
from alembert.serving.keys import Keys
from alembert.serving.schemas import RefusedError


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(keys, "time", made)
    return made


def refused(call: Callable[[], object]) -> RefusedError:
    with pytest.raises(RefusedError) as found:
        call()
    return found.value


def written(path: Path, text: str, second: int = 1) -> Path:
    """The file with this text, changed at this second."""
    path.write_text(text)
    os.utime(path, (second, second))
    return path


def test_a_key_has_the_name_of_its_line(tmp_path: Path) -> None:
    file = written(tmp_path / "keys", "\ufeff# ours\n\nann  first-secret\nbob\tsecond-secret 60\n")
    made = Keys("third-secret", file)
    words = {"ann": "first-secret", "bob": "second-secret", "key": "third-secret"}
    assert {made.name(f"Bearer {key}".encode()) for key in words.values()} == set(words)
    assert made.name(b"bEARER   first-secret ") == "ann"
    wrong = (b"", b"Bearer", b"Bearer ", b"Bearer ann", b"first-secret", b"Basic first-secret")
    wrong += (b"Bearer \xff", b"Bearer first-secre", b"Bearer first-secret x")
    for header in wrong:
        error = refused(lambda header=header: made.name(header))
        assert (error.status, error.message) == (401, "wrong or no API key")


def test_every_key_is_compared_whichever_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Keys(None, written(tmp_path / "keys", "a aa\nb bbbb\nc cccccc\n"))
    compared: list[tuple[int, int]] = []

    class Noted:
        @staticmethod
        def compare_digest(one: bytes, other: bytes) -> bool:
            compared.append((len(one), len(other)))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(keys, "hmac", Noted)
    for header in (b"Bearer aa", b"Bearer cccccc"):
        made.name(header)
    refused(lambda: made.name(b"Bearer x"))
    assert compared == [(32, 32)] * 9


def test_a_key_has_its_rate_and_says_when_to_come_again(tmp_path: Path, clock: Clock) -> None:
    made = Keys(None, written(tmp_path / "keys", "ann aa 3\nbob bb\n"), rate=60)
    for _ in range(3):
        made.name(b"Bearer aa")
    error = refused(lambda: made.name(b"Bearer aa"))
    assert (error.status, error.retry_after) == (429, 20)  # 3 a minute are one in 20 seconds
    assert error.message == "over the rate of this key: 3 requests a minute"
    clock.now += 19.9
    refused(lambda: made.name(b"Bearer aa"))
    clock.now += 0.2
    assert made.name(b"Bearer aa") == "ann"
    refused(lambda: made.name(b"Bearer aa"))
    for _ in range(60):
        assert made.name(b"Bearer bb") == "bob"
    assert refused(lambda: made.name(b"Bearer bb")).retry_after == 1
    clock.now += 3600
    for _ in range(3):
        made.name(b"Bearer aa")
    refused(lambda: made.name(b"Bearer aa"))  # an hour is saved up for no more than a minute


def test_a_changed_file_is_read_again_and_a_mistake_in_it_changes_nothing(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path / "keys", "ann old-secret\nbob same-secret 2\n")
    made = Keys(None, file)
    made.name(b"Bearer same-secret")
    written(file, "ann new-secret\nbob same-secret 2\n", 2)
    assert made.name(b"Bearer old-secret") == "ann"  # it is not looked at for every request
    clock.now += 1.1
    assert made.name(b"Bearer new-secret") == "ann"
    refused(lambda: made.name(b"Bearer old-secret"))
    made.name(b"Bearer same-secret")
    assert refused(lambda: made.name(b"Bearer same-secret")).status == 429  # as before it was read
    for second, spoil in enumerate(("ann\n", "a", ""), start=3):
        written(file, spoil, second)
        clock.now += 1.1
        assert made.name(b"Bearer new-secret") == "ann"
    file.unlink()
    clock.now += 1.1
    assert made.name(b"Bearer new-secret") == "ann"
    assert caplog.text.count("the keys stay as they were") == 4
    assert "secret" not in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such files")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path / "keys", "ann old-secret\n")
    made = Keys(None, file)
    file.unlink()
    os.mkfifo(file)
    clock.now += 1.1
    assert made.name(b"Bearer old-secret") == "ann"
    assert caplog.messages == [
        f"{file}: the keys cannot be read (it is no file); the keys stay as they were"
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such files")
def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(UserError, match="over 10,000,000 bytes"):
        Keys(None, Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ann\n", "line 1: write NAME KEY, or NAME KEY RATE"),
        ("a b\nc b 0\n", "line 2: write NAME KEY"),
        ("a b -1\n", "line 1: write NAME KEY"),
        ("a b c d\n", "line 1: write NAME KEY"),
        ("a é\n", "line 1: write NAME KEY"),
        ("a/b c\n", "line 1: write NAME KEY"),
        ("a b\na c\n", "line 2: a second key of the name a"),
        ("# none\n", "there is no key in it"),
    ],
)
def test_a_mistake_in_the_file_is_named_and_no_key_shown(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(UserError, match=says) as found:
        Keys(None, written(tmp_path / "keys", text.replace("b", "secret")))
    assert "secret" not in str(found.value)
    with pytest.raises(UserError, match="the keys cannot be read"):
        Keys(None, tmp_path / "nowhere")


def test_the_log_has_the_name_of_a_key_and_never_the_key(
    classifier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Keys("one-secret", written(tmp_path / "keys", "ann other-secret\n"))

    async def run() -> list[int]:
        async with running([made_up(classifier, counting)], keys=made) as (client, _, _):
            found = []
            for key in ("one-secret", "other-secret", "wrong-secret"):
                head = {"authorization": f"Bearer {key}"}
                answer = await client.post("/predict", json={"inputs": "a"}, headers=head)
                found.append(answer.status_code)
            return found

    with caplog.at_level("DEBUG"):
        assert asyncio.run(run()) == [200, 200, 401]
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "alembert.access"]
    assert [line.get("key") for line in lines] == ["key", "ann", None]
    assert "-secret" not in caplog.text
    assert "secret" not in repr(made.__dict__)


@pytest.mark.parametrize(("open_metrics", "status"), [(True, 200), (False, 401)])
def test_metrics_beside_a_key_are_open_or_closed(
    classifier: Path, open_metrics: bool, status: int
) -> None:
    async def run() -> list[int]:
        options = {"keys": Keys("secret"), "open_metrics": open_metrics}
        async with running([made_up(classifier, counting)], **options) as (client, _, _):
            found = [await client.get(path) for path in ("/metrics", "/metrics/", "/health", "/")]
            head = {"authorization": "Bearer secret"}
            found.append(await client.get("/metrics", headers=head))
            return [each.status_code for each in found]

    assert asyncio.run(run()) == [status, status, 200, 200, 200]
