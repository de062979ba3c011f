"""TinyBERT's data augmentation: variants of texts in which words are replaced by others.

Read `variants` first: it replaces words at random. `candidates` are an MLM's predictions for a
word, or words near it by `word_vectors`; `partners` pairs texts of two rows. `augment_file` makes
the variants of a whole file, resumable, in a form that `writing` has for each kind of file.

For other rooms: augment_file, word_vectors.
"""
