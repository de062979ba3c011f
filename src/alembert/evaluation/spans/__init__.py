"""Answers that are spans of a context: the best one of a model's logits, and how right it is.

Read `official` (exact match and F1 as SQuAD defines them), `best` (from the logits of a question's
windows to its answer, or to none), `scores` (both together, a question a row), `sentences` (what
answers without a model) and `listed` (the answers of a run's models, for its report).
"""
