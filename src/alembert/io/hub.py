"""Whether a name that is no path here may be asked of the hub, and whether the hub answers."""

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
    """Refuse at once what was meant as a path: its shape, a suffix or a folder that is here say so.

    Raises UserError; `what` says what was expected there, a file or a folder.
    """
    path = Path(name)
    beside = len(path.parts) > 1 and path.parent.is_dir()
    if beside or not _ID.fullmatch(name) or _SUFFIX.fullmatch(path.suffix):
        raise UserError(f"{name}: no such {what}; check the path")


@cache
def reachable() -> bool:
    """Whether the hub answers; asked once, since its own client tries for 20 seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        urlopen(Request(hub, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True  # an answer all the same
    except OSError:
        return False
    return True
