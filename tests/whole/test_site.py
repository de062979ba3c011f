"""The site has every page once, and its pictures are what their script draws."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PICTURES = runpy.run_path(str(ROOT / "docs" / "site" / "pictures.py"))["pictures"]()


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from pages(part)


def test_every_page_of_docs_is_in_the_navigation_once() -> None:
    found = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert len(set(found)) == len(found)
    here = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert here == {name for name in found if name.startswith("docs/")}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_its_script_draws(name: str) -> None:
    assert (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8") == PICTURES[name]
