"""Size, latency, throughput and memory of saved models on CPU, side by side.

Read `bench` first: it starts a `worker` a model and backend, `side_by_side` asks them in turn so
that what drifts hits all alike, `rows` turns times into medians and ratios with their noise, and
`show` prints them. `rows` also has the Pareto front.

For other rooms: bench, rows, show, worker.
"""
