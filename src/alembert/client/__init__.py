"""A client of `alembert serve`; it needs httpx and the types of answers, but no torch or model.

`client` has `Client`: the same methods and typed answers as `inference.Session`, over HTTP, with
retries while the server is busy.

For other rooms: client, Client, AsyncClient, ServerError.
"""

from alembert.client.client import AsyncClient, Client, ServerError

__all__ = ["AsyncClient", "Client", "ServerError"]
