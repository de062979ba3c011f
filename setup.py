"""What pyproject.toml cannot say of the package: a long description whose links are absolute.

ALEMBERT_REPOSITORY is the web address of the repository that a release is built from. Without it
the description keeps the words of the links alone, since a relative one leads nowhere on an index.
"""

import os
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
ADDRESS = os.environ.get("ALEMBERT_REPOSITORY", "").rstrip("/")
PAGES = {"Documentation": "tree/HEAD/docs", "Changelog": "blob/HEAD/CHANGELOG.md",
         "Issues": "issues"}  # fmt: skip


def long_description() -> str:
    """Return README.md with absolute links, or without those that are relative."""
    link = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")
    to = rf"[\1]({ADDRESS}/blob/HEAD/\2)" if ADDRESS else r"\1"
    return link.sub(to, (ROOT / "README.md").read_text(encoding="utf-8"))


urls = {name: f"{ADDRESS}/{path}" for name, path in PAGES.items()} if ADDRESS else {}
setup(
    long_description=long_description(),
    long_description_content_type="text/markdown",
    project_urls={"Source": ADDRESS, **urls} if ADDRESS else {},
)
