"""Size, latency, throughput and memory of saved models on CPU, side by side.

Read `bench` first: it starts a `worker` for each model and backend, `side_by_side` times them in
turn so that drift affects all alike, `rows` turns times into medians and ratios with intervals,
and `show` prints them. `rows` also has the Pareto front.

For other rooms: bench, rows, show, worker.
"""
