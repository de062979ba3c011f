"""The API keys of a server: their names, their rates, and the file that they are read from."""

import hashlib
import hmac
import logging
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from alembert.io.errors import UserError
from alembert.serving.schemas import RefusedError

log = logging.getLogger(__name__)

LARGEST = 10_000_000  # bytes of the file
AGAIN = 1.0  # seconds after which the file is looked at again
LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[ \t]+([!-~]+)(?:[ \t]+([0-9]{1,9}))?")
NO_KEY = "wrong or no API key"


@dataclass(eq=False, kw_only=True)
class _Key:
    """A key's digest, and what is left of its rate.

    The rate is in requests a minute, all of which may come at once. The digests of all keys have
    one length, so that comparing them takes one time.
    """

    name: str
    digest: bytes = field(repr=False)
    rate: int | None
    left: float = math.inf
    since: float = 0.0

    def take(self, now: float) -> float:
        """Takes a request; returns 0, or the seconds after which there is one to take."""
        if self.rate is None:
            return 0.0
        self.left = min(self.rate, self.left + (now - self.since) * self.rate / 60)
        self.since = now
        if self.left < 1:
            return (1 - self.left) * 60 / self.rate
        self.left -= 1
        return 0.0


class Keys:
    """Keys that requests have to carry; a changed file is read again, without a restart."""

    def __init__(
        self, single: str | None = None, file: Path | None = None, rate: int | None = None
    ) -> None:
        """single is named "key"; rate is that of each key whose line in the file has none.

        Raises UserError for a key that no header can carry, and a file that cannot be read.
        """
        if single is not None and not (single and single.isascii() and single.isprintable()):
            raise UserError("--api-key: give printable ASCII")
        if rate is not None and rate < 1:
            raise UserError(f"--rate {rate}: must be 1 or more")
        self._file, self._rate = file, rate
        self._own = (
            [] if single is None else [_Key(name="key", digest=_digest(single.encode()), rate=rate)]
        )
        self._keys = self._own
        self._looked, self._seen = time.monotonic(), _stamp(file)
        if file is not None:
            self._keys = self._own + self._read(file)

    def name(self, header: bytes) -> str:
        """The name of the key in an Authorization header.

        Raises RefusedError 401 for a key that is not known, and 429 for one over its rate.
        """
        now = time.monotonic()
        if self._file is not None and now - self._looked > AGAIN:
            self._looked = now
            self._reread(self._file)
        scheme, _, given = header.partition(b" ")
        digest, found = _digest(given.strip()), None
        for key in self._keys:  # all of them, so that the time does not tell which one it is
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None or scheme.lower() != b"bearer":
            raise RefusedError(401, NO_KEY)
        if wait := found.take(now):
            message = f"over the rate of this key: {found.rate} requests a minute"
            raise RefusedError(429, message, math.ceil(wait))
        return found.name

    def _reread(self, file: Path) -> None:
        """Reads a changed file; a mistake in it is logged, and the keys stay as they were."""
        if (stamp := _stamp(file)) == self._seen:
            return
        self._seen = stamp
        try:
            if not file.is_file() and file.exists():  # a pipe would be waited for
                raise UserError(f"{file}: the keys cannot be read (it is no file)")
            fresh = self._read(file)
        except UserError as error:
            log.warning(f"{error}; the keys stay as they were")
            return
        before = {(key.name, key.digest, key.rate): key for key in self._keys}
        fresh = [before.get((key.name, key.digest, key.rate), key) for key in fresh]
        self._keys = self._own + fresh
        log.info(f"{file}: {len(fresh)} keys")

    def _read(self, file: Path) -> list[_Key]:
        """The keys of a file: NAME KEY, or NAME KEY RATE, on each line."""
        try:
            with file.open(encoding="utf-8-sig") as opened:
                content = opened.read(LARGEST + 1)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
            raise UserError(f"{file}: the keys cannot be read ({reason})") from error
        if len(content) > LARGEST:
            raise UserError(f"{file}: the keys cannot be read (over {LARGEST:,} bytes)")
        keys: dict[str, _Key] = {}
        for number, line in enumerate(content.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = LINE.fullmatch(line.strip())
            if parts is None or (parts[3] and int(parts[3]) < 1):  # it is a secret: not shown
                raise UserError(f"{file}, line {number}: write NAME KEY, or NAME KEY RATE")
            if parts[1] in keys:
                raise UserError(f"{file}, line {number}: a second key of the name {parts[1]}")
            rate = int(parts[3]) if parts[3] else self._rate
            keys[parts[1]] = _Key(name=parts[1], digest=_digest(parts[2].encode()), rate=rate)
        if not keys:
            raise UserError(f"{file}: there is no key in it")
        return list(keys.values())


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """What changes with a file's content; None without a file."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
