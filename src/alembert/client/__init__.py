"""A client for `alembert serve`; it needs httpx and the answers' types, and neither torch nor a
model.

`client` has `Client`: the same methods and typed answers as `inference.Session`, over HTTP, with
retries while the server has no room.

For other rooms: client, Client, AsyncClient.
"""

from alembert.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
