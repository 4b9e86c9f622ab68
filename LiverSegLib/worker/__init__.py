"""Segmentation in a process of its own, which keeps the model and the device warm, and the application free.

An application with an event loop drives `session.WorkerSession` through its own process class; that side never imports
torch. `server` does, in the worker. Between them go lines of JSON, and voxels as files of a private folder.

Why not multiprocessing: in 3D Slicer `sys.executable` is a launcher, with which `Process.start` hangs
(github.com/Slicer/Slicer/issues/7445). Besides, unpickling would run what it reads.
"""
