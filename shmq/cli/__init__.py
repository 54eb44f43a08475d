"""The command line `shmq`.

Owns: words, options, exit statuses (0 done, 1 an error, 2 wrong usage, 130 Ctrl-C) and what is printed.
Must never: show a traceback for bad input, or do what the public API does not let others do.
Sits: rightmost, over the clients, the store and the demo. `app` holds the commands together.
"""

from __future__ import annotations

from .app import main

__all__ = ["main"]
