"""Checks whether a name may be a hub id, and whether the hub can be reached."""

import os
import re
from functools import cache
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from alembert.io.errors import UserError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SUFFIX = re.compile(r"\.[A-Za-z]{2,7}")
SECONDS = 5.0


def check_id(name: str, what: str) -> None:
    """Raises UserError for a name that looks like a path: by shape, suffix or existing parent.

    `what` is the word for a missing path in the message: file or folder.
    """
    path = Path(name)
    beside = len(path.parts) > 1 and path.parent.is_dir()
    if beside or not _ID.fullmatch(name) or _SUFFIX.fullmatch(path.suffix):
        raise UserError(f"{name}: no such {what}; check the path")


@cache
def reachable() -> bool:
    """Whether the hub answers, tried once, since its own client would retry for 20 seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        urlopen(Request(hub, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True  # an error response is an answer, too
    except OSError:
        return False
    return True
