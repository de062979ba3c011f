"""The texts of a run's task, as its models read them and as its stages weigh them.

Read `encoded_task` first: the task tokenised for the student and for the teacher, once for both
where their tokenizers agree. `ensemble` does the same for further teachers, whose logits it
averages, `class_weights` counts the labels for a loss that weighs them, and `slices` measures the
result by the columns of its evaluation. `apart` divides the one file of a user who has no other.
"""
