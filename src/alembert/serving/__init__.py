"""Serves exported models over HTTP; no torch.

Read in the order that a request passes through: `server` listens, on the connections of the inner
part `listening`; `middleware` checks key (`keys`) and size, reads the body and turns errors into
responses, `app` has the routes and `openapi` describes them,
`schemas` has the JSON, `served_model` turns texts into rows, `queue` batches the rows of many
requests, and `service` holds the models and limits. `pages` and `metrics` need no model. `ray` runs
the same application on Ray Serve.

For other rooms: keys, server, service, served_model, ray.
"""
