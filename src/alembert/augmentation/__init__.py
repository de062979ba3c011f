"""Variants of texts, as TinyBERT makes them: words give way to others that may stand there.

Read `variants` first: which words change, by chance. `candidates` are what a masked-word model
expects at a word's place, or words near it by `word_vectors`. `augment_file` does it for a whole
file, resumable.

For other rooms: augment_file, word_vectors.
"""
