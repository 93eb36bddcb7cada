"""`python -m openlineage_pod` is the command `openlineage-pod`."""

import sys

from openlineage_pod.cli import main

sys.exit(main())
