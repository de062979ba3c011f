"""HTTP over an exported model; no torch.

A request's way, and the order to read: `server` listens, `middleware` checks key and size and
reads the body, `app` has the routes, `schemas` says what goes over the wire, `served_model` turns
texts into rows, `queue` batches the rows of many requests, and `service` holds the models and
limits. `pages` and `metrics` answer without a model. `ray` runs the same application on Ray
Serve.

For other rooms: server, service, served_model, ray.
"""
