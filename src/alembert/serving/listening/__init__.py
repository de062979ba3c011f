"""The connections of a server: what a client may send, leave unread, and hold open.

`protocol` is one connection: the limits on a request's head and on the time that a request takes
to arrive, and on the time that an answer takes to be read. `connections` counts all of them, and
closes the one that has waited longest where there is no room for another.
"""
