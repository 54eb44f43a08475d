"""`python -m shmq.coordinator DIRECTORY`: a coordinator in the background, as clients start it."""

from __future__ import annotations

import logging
import os
import sys

from shmq.coordinator.service import LINGER_S, serve


def main() -> int:
    """Serve until nobody needs it. Exit status 0; also if there is another coordinator already."""
    logging.basicConfig(
        format="%(asctime)s %(process)d %(levelname)s %(message)s", level=os.environ.get("SHMQ_LOG_LEVEL", "INFO")
    )
    serve(sys.argv[1], linger_s=float(os.environ.get("SHMQ_COORDINATOR_LINGER_S", LINGER_S)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
