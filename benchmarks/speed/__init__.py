"""What an optimiser step costs: `step` against the straightforward one of `plain`, `stages` of a
recipe, `sizes` of texts, vocabularies and teachers, `schedules` of the papers (computed).
"""
