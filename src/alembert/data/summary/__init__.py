"""A task's rows in figures and in words, before anything is trained.

Read `describe` first: the lines that every run begins with. `summary` counts the rest for
`alembert check`: classes, lengths, texts that come twice, labels that contradict each other.
`show` puts these figures into lines.
"""
