"""Many runs to find one: a student for a budget, or the settings of a recipe.

Read `search` first. `space` has the budget and the candidate shapes; `latency` times them; `phases`
goes from timing over brief trainings to the full training of the winner; `trials` shortens a recipe
and runs one training, `halving` chooses who is trained longer, by what `held_out` makes of the
candidates' answers; `identity` refuses another teacher or other texts in the same folder; `show`
prints the result. `tune` tries values of a recipe's settings.

For other rooms: search, identity, space, tune.
"""
