"""What students give on CPU: `shapes` of the papers timed, trained students `deployed`, students
found by a `search` for a budget of time, and `one_command` from a teacher to a served student.
"""
