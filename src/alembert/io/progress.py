"""Progress bars, on a terminal or in a notebook; a log file or a pipe gets none."""

import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that a notebook lacks ipywidgets: its bars are then text
    from tqdm.auto import tqdm

__all__ = ["HIDDEN", "tqdm"]

# None hides a bar where no terminal reads it, which tqdm takes a notebook for
HIDDEN = False if "ipykernel.zmqshell" in sys.modules else None
