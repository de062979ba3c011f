"""Questions whose answers are spans of a context (SQuAD): reading them, and their windows.

Read `squad` (documents in SQuAD's form become rows), then `answers` (rows of any file get one form)
with `offsets` (offsets that do not fit their text), then `windows` (rows become token ids: a long
context in windows that overlap). `apart` holds questions out.
"""
