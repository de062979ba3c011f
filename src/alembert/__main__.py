"""python -m alembert, for launchers: torchrun --nproc-per-node 4 -m alembert distill ..."""

from alembert.cli.main import main

if __name__ == "__main__":
    main()
