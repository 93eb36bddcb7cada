"""Many runs in one process, each a `with lineage_run(…)`."""

from loop import body, loop

from openlineage_pod import lineage_run


def one_run() -> None:
    """Enter a run and leave it."""
    with lineage_run(
        "nightly_report",
        inputs=["postgres://warehouse:5432/crm.public.accounts"],
        outputs=["s3://lake/reports/accounts"],
    ):
        body()


if __name__ == "__main__":
    loop(one_run)
