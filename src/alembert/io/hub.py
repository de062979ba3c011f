"""Checks whether a name may be a hub id, and whether the hub can be reached."""

import math
import os
import re
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from alembert.io.errors import UserError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SUFFIX = re.compile(r"\.[A-Za-z]{2,7}")
SECONDS = 5.0
REMEMBERED = 60.0  # seconds


def check_id(name: str, what: str) -> None:
    """Raises UserError for a name that looks like a path: by shape, suffix or existing parent.

    `what` is the word for a missing path in the message: file or folder.
    """
    path = Path(name)
    beside = len(path.parts) > 1 and path.parent.is_dir()
    if beside or not _ID.fullmatch(name) or _SUFFIX.fullmatch(path.suffix):
        raise UserError(f"{name}: no such {what}; check the path")


_seen: dict[str, tuple[float, bool]] = {}  # address: when it was tried, and the outcome


def reachable() -> bool:
    """Whether the hub answers, tried at most once a minute.

    The hub's own client would retry for 20 seconds, and a network that comes back is noticed.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    tried, answered = _seen.get(hub, (-math.inf, False))
    if time.monotonic() - tried > REMEMBERED:
        answered = _answers(hub)
        _seen[hub] = time.monotonic(), answered
    return answered


def _answers(hub: str) -> bool:
    try:
        urlopen(Request(hub, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True  # an error response is an answer, too
    except OSError:
        return False
    return True
