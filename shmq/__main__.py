"""`python -m shmq`: the command line, for when the `shmq` script is not on the PATH.

Owns: nothing. Must never: do more than call it. Sits: at the right edge, beside the script that pip makes.
"""

from __future__ import annotations

from shmq.cli import main

if __name__ == "__main__":
    main()
