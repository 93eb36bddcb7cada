"""The same job with `@lineage_run`."""

import sys
import time

from openlineage_pod import lineage_run


@lineage_run(
    "nightly_report",
    inputs=["postgres://warehouse:5432/crm.public.accounts"],
    outputs=["s3://lake/reports/accounts"],
)
def main(seconds: float, rounds: int) -> None:
    """Say when the first line was reached, then wait and compute."""
    print(time.monotonic_ns(), flush=True)
    time.sleep(seconds)
    for _ in range(rounds):
        pass


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
