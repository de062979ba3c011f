"""Cheap models beside a transformer, made by scikit-learn: the majority, TF-IDF, embeddings.

Read `fitting` first: it makes the baselines of a task, chooses their regularisation on held-out
texts, caches what is fitted and times their answers. `features` turns texts into sparse rows of
TF-IDF, `frozen` into the vectors of an encoder that is not trained, and `linear` has the models
that are fitted on both.
"""
