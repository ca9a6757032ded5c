"""The worker process makes the frames, so that cutting and validating them takes no GIL time of the event loop.

The recording thread commits bytes as usual, and then tells the worker which streams have new bytes in the file
(`supervisor`). The worker reads them there, makes frames and writes them on its own connection (`process`). No bytes
pass between the two processes.

Both processes can die at any moment. The worker has no state of its own: its successor, or the next recorder, begins
again from the state of the file.
"""
