"""How sure a metric is, and how sure it is that two models differ.

Read `resampling` first: it has each metric as a function of how often every text is drawn.
`intervals` draws the texts, and has the tests of two models; `kept` measures how much of its
teacher a student keeps, with the rule of the headline, and `phrases` puts that into words. `slices`
has metrics by the value of a column, and `compared` several models side by side, with a gate.

For other rooms: resampling, intervals, kept, phrases, slices, compared.
"""
