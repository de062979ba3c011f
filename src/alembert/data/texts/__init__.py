"""An inner part of data for the texts of a task's rows.

`raw` has them as a person wrote them, before they are encoded. `windows` encodes those that are
longer than a model reads at once. Questions have windows of their own (`questions`), since only
their contexts are long. For other rooms: both.
"""
