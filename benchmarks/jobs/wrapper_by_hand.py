"""A wrapper around any command, with plain openlineage-python: it starts the command as early as it can."""

import subprocess
import sys

from by_hand import run_event
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunState
from openlineage.client.uuid import generate_new_uuid

with subprocess.Popen(sys.argv[1:]) as command:
    client = OpenLineageClient()
    this_run = str(generate_new_uuid())
    client.emit(run_event(RunState.START, this_run))
    exit_code = command.wait()
    client.emit(run_event(RunState.FAIL if exit_code else RunState.COMPLETE, this_run))
sys.exit(exit_code)
