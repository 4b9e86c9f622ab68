"""Segmentation in a process of its own, which keeps the model and the device warm.

`client.WorkerClient` runs it through subprocess. An application with an event loop drives `session.WorkerSession`
through its own process class instead. Neither imports torch; `server` does, in the worker.
"""
