"""What the site has beside mkdocs.yml: the repository's pages, notebooks as pages, references.

MkDocs calls the functions named on_*. Pages keep the paths that they have in the repository, so
that a link which works there works in the site; a file that a page links to comes with it.
"""

import inspect
import json
import re
import subprocess
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import alembert

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "STYLE.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"(?<!!)\[([^]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")
IMAGE = re.compile(r"!\[([^]]*)\]\(([^)#:\s]+)\)")
PICTURE = re.compile(r'<img [^>]*src="(?:[^"]*/)?(pictures/[\w-]+\.svg)"[^>]*>')
NOTEBOOK = ".ipynb"
TERMS = ("label_terms", "layer_terms")  # modules of alembert.objectives
REFERENCES = {
    "functions": "The functions of `alembert`; [In Python](../docs/python.md) shows them at work.",
    "classes": "The classes of `alembert`.",
    "terms": "The terms of an objective; [this page](../docs/losses.md) explains how they work.",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of results/ in the navigation."""
    results = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("results/*/README.md"))]
    for part in config.nav or []:
        if "Results" in part:
            part["Results"] = results
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site, by their paths in the repository."""
    pages = [*PAGES, *tracked("docs/*.md", "results/*/README.md")]
    found = {path: file_of(path, config) for path in pages}
    for path in pages:
        for target in linked(path):
            if target not in found and not target.endswith(NOTEBOOK):
                found[target] = file_of(target, config)
    for name in ("site.css", "site.js"):
        found[f"docs/site/{name}"] = file_of(f"docs/site/{name}", config)
    made = {f"{path}.md": page_of(ROOT / path) for path in tracked(f"examples/*{NOTEBOOK}")}
    made |= {f"reference/{name}.md": reference(name) for name in REFERENCES}
    themes = [
        file for file in files if not Path(str(file.abs_src_path)).is_relative_to(ROOT / "docs")
    ]
    generated = [File.generated(config, path, content=text) for path, text in made.items()]
    return Files([*themes, *found.values(), *generated])


def tracked(*patterns: str) -> list[str]:
    """The paths of files in the repository that match."""
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.split("\n")[:-1]


def file_of(path: str, config: MkDocsConfig) -> File:
    return File(path, str(ROOT), config.site_dir, config.use_directory_urls)


def linked(path: str) -> set[str]:
    """The files of the repository that a page links to."""
    home, found = (ROOT / path).parent, set()
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in (each[1] for pattern in (LINK, IMAGE) for each in pattern.findall(text)):
        place = (home / target).resolve()
        if place.is_file():
            found.add(str(place.relative_to(ROOT)))
    return found


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links go to notebooks' pages, and those to folders are left out."""
    home = (ROOT / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        if found[2].endswith(NOTEBOOK):
            return f"[{found[1]}]({found[2]}.md)"
        return found[1] if (home / found[2]).is_dir() else found[0]

    return LINK.sub(link, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Pictures become part of the page, whose colours they take in place of their own."""

    def drawn(found: re.Match[str]) -> str:
        picture = (ROOT / "docs" / found[1]).read_text(encoding="utf-8")
        return re.sub("<style>.*?</style>", "", picture, count=1)

    return PICTURE.sub(drawn, content)


def on_post_page(output: str, **_: Any) -> str:
    """The search, to which the theme gives no name, has one for those who hear the page."""
    return output.replace('role="dialog">', 'role="dialog" aria-label="Search">')


def page_of(notebook: Path) -> str:
    """A notebook's cells as a page, without what they print."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    parts = [
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell in cells
        if (text := "".join(cell["source"]))
    ]
    return "\n\n".join(parts) + "\n"


def reference(name: str) -> str:
    """A page of what the docstrings say."""
    entries = [f"::: {path}" for path in documented(name)]
    return "\n\n".join([f"# {name.capitalize()}", REFERENCES[name], *entries])


def is_own(value: object, module: ModuleType) -> bool:
    """Whether a value is a term that a recipe can name, and the module's own."""
    is_term = isinstance(value, type) and issubclass(value, alembert.Term)
    return is_term and value.__module__ == module.__name__ and not inspect.isabstract(value)


def documented(name: str) -> list[str]:
    """The full names of the functions, classes or terms."""
    if name == "terms":
        rooms = [import_module(f"alembert.objectives.{room}") for room in TERMS]
        values = [value for room in rooms for value in vars(room).values() if is_own(value, room)]
    else:
        public = [inspect.unwrap(getattr(alembert, each)) for each in alembert.__all__]
        values = [value for value in public if inspect.isclass(value) == (name == "classes")]
    return [f"{value.__module__}.{value.__qualname__}" for value in values]
