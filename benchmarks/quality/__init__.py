"""How good students become: experiments as rows of a table, run as commands of alembert.

Read `experiments` (which models are compared), then `run`, which makes them, and `pages`, which
makes the tables of results/ of them. `before_after` compares two versions of the package. Measured
by themselves: `candidates` (of augmentation) and `trimmed` (vocabularies).
"""
