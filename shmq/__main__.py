"""`python -m shmq`: the same as the command `shmq`."""

from shmq.cli import main

if __name__ == "__main__":
    main()
