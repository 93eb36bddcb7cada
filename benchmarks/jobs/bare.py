"""The job without lineage."""

import sys
import time


def main(seconds: float, rounds: int) -> None:
    """Say when the first line was reached, then wait and compute."""
    print(time.monotonic_ns(), flush=True)
    time.sleep(seconds)
    for _ in range(rounds):
        pass


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
