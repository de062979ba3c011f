"""Size, latency, throughput and memory of saved models on CPU, side by side.

Read `bench` first: it starts a `worker` for each model and backend, `side_by_side` times them in
turn so that drift affects all alike, `rows` turns times into medians and ratios with intervals,
and `show` prints them. `interleaved` times loaded models in turn within one process, from a text to
its answer, as a run does at its end. `rows` also has the Pareto front.

For other rooms: bench, interleaved, rows, show, worker.
"""
