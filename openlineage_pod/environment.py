"""The name of every environment variable that this project reads or sets.

`settings` has their values, `core.parent` and `core.pod` those about the run that started us and the pod. No other
module reads a mapping by a name of its own.
"""

from __future__ import annotations

CONTEXT = "OPENLINEAGE_CONTEXT"
"""Who started this pod, as the standard JSON: `{"parent": {"run", "job", "root": {"run", "job"}}}`."""
PARENT_ID = "OPENLINEAGE_PARENT_ID"
"""The parent as `namespace/job/run-id`."""
ROOT_PARENT_ID = "OPENLINEAGE_ROOT_PARENT_ID"
"""The root as `namespace/job/run-id`."""
PARENT_RUN_ID = "OPENLINEAGE_PARENT_RUN_ID"
"""The parent in parts, of which this and the job name are needed: its run id, a UUID."""
PARENT_JOB_NAME = "OPENLINEAGE_PARENT_JOB_NAME"
"""The job name of the parent in parts."""
PARENT_JOB_NAMESPACE = "OPENLINEAGE_PARENT_JOB_NAMESPACE"
"""The job namespace of the parent in parts (default: `OPENLINEAGE_NAMESPACE`, else `default`)."""
ROOT_PARENT_RUN_ID = "OPENLINEAGE_ROOT_PARENT_RUN_ID"
"""The root in parts: its run id."""
ROOT_PARENT_JOB_NAME = "OPENLINEAGE_ROOT_PARENT_JOB_NAME"
"""The job name of the root in parts."""
ROOT_PARENT_JOB_NAMESPACE = "OPENLINEAGE_ROOT_PARENT_JOB_NAMESPACE"
"""The job namespace of the root in parts (default: the parent's)."""
NAMESPACE = "OPENLINEAGE_NAMESPACE"
"""The job namespace of this pod's runs (default: the parent's, else `default`)."""
JOB_NAME = "OPENLINEAGE_JOB_NAME"
"""The job name of the outermost run (default: `<parent job name>.<function>`)."""
RUN_ID = "OPENLINEAGE_RUN_ID"
"""The run id, a UUID, of the first outermost run of the process (default: a new UUIDv7)."""
DISABLED = "OPENLINEAGE_DISABLED"
"""`true`: nothing is reported."""
INPUTS = "OPENLINEAGE_POD_INPUTS"
"""Datasets that the DAG declared as inputs, a JSON array; added to the outermost run."""
OUTPUTS = "OPENLINEAGE_POD_OUTPUTS"
"""Datasets that the DAG declared as outputs, a JSON array; added to the outermost run."""
URL = "OPENLINEAGE_URL"
"""The backend; this one and the next three are openlineage-python's own, as all that begin with `CLIENT_PREFIX`."""
ENDPOINT = "OPENLINEAGE_ENDPOINT"
"""The path below the URL (default `api/v1/lineage`)."""
API_KEY = "OPENLINEAGE_API_KEY"
"""Sent as a bearer token."""
CONFIG = "OPENLINEAGE_CONFIG"
"""openlineage-python's configuration file."""
CLIENT_PREFIX = "OPENLINEAGE__"
"""Prefix of openlineage-python's configuration in parts, such as `OPENLINEAGE__TRANSPORT__TYPE`."""
FLUSH_TIMEOUT = "OPENLINEAGE_POD_FLUSH_TIMEOUT"
"""Seconds that the end of the process may wait for delivery (default 5)."""
LAST_RESORT = "OPENLINEAGE_POD_LAST_RESORT"
"""`stderr` (default): an event that could not be delivered is printed there as one line; `off`: it is not."""
API_KEY_FILE = "OPENLINEAGE_API_KEY_FILE"
"""A file that holds the API key; read again when it changes, and after a 401 or 403."""
SPOOL_DIR = "OPENLINEAGE_POD_SPOOL_DIR"
"""A directory in which undelivered events are kept, also for the next process (default: none)."""
SPOOL_MAX_BYTES = "OPENLINEAGE_POD_SPOOL_MAX_BYTES"
"""What the spool may hold (default 16777216, 16 MiB)."""
MAX_EVENT_BYTES = "OPENLINEAGE_POD_MAX_EVENT_BYTES"
"""The largest event; of a larger one facets are left out in a fixed order (default 250000)."""
REDACT = "OPENLINEAGE_POD_REDACT"
"""`false`: leave what looks like a credential in names and messages as it is (default true)."""
GRACE_PERIOD = "OPENLINEAGE_POD_GRACE_PERIOD"
"""Seconds that the pod has between SIGTERM and SIGKILL, for `openlineage-pod run` and `relay` (default 30)."""
REPORT = "OPENLINEAGE_POD_REPORT"
"""Set by `openlineage-pod run` for its command: a file for JSON lines about its datasets and facets."""
SUMMARY = "OPENLINEAGE_POD_SUMMARY"
"""`true`: the line at exit that says what was sent where goes to stderr, whatever logging says (default false)."""
STRICT = "OPENLINEAGE_POD_STRICT"
"""`true`: raise on misconfiguration at the start, for tests (default false)."""

POD_NAME = "POD_NAME"
"""The name of the pod; this one and the next five are what pod manifests commonly fill from the downward API."""
POD_UID = "POD_UID"
"""The UID of the pod."""
POD_NAMESPACE = "POD_NAMESPACE"
"""The Kubernetes namespace of the pod."""
NODE_NAME = "NODE_NAME"
"""The node that the pod runs on."""
CONTAINER_NAME = "CONTAINER_NAME"
"""The name of the container within the pod."""
CONTAINER_IMAGE = "CONTAINER_IMAGE"
"""The image of the container."""
OTEL_RESOURCE_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
"""OpenTelemetry's resource attributes, `key=value,key=value`; read for what the six variables above do not say."""
KUBERNETES_SERVICE_HOST = "KUBERNETES_SERVICE_HOST"
"""Set by Kubernetes in every container: then `HOSTNAME` is the name of the pod."""
HOSTNAME = "HOSTNAME"
"""The host name of the container."""
JPY_SESSION_NAME = "JPY_SESSION_NAME"
"""The path of a notebook, which Jupyter tells its kernel."""
TMPDIR = "TMPDIR"
"""The folder for temporary files, such as the metadata file of a command."""
LC_CTYPE = "LC_CTYPE"
"""Set by Python itself in a C locale (PEP 538); the wrapper takes it out of the command's environment again."""

NETRC = "NETRC"
"""A file with credentials for hosts; this one and the next six are about the way to the backend."""
REQUESTS_CA_BUNDLE = "REQUESTS_CA_BUNDLE"
"""The trusted certificates, a file or a directory."""
CURL_CA_BUNDLE = "CURL_CA_BUNDLE"
"""The same, where the one above is not set."""
SSL_CERT_FILE = "SSL_CERT_FILE"
"""OpenSSL's own: certificates that are trusted, too, where neither of the two above is set; here a file."""
SSL_CERT_DIR = "SSL_CERT_DIR"
"""The same, a directory."""
PROXY_SUFFIX = "_proxy"
"""How the variables of proxies end, in any case: `https_proxy`, `HTTP_PROXY`, `all_proxy`."""
NO_PROXY = "no_proxy"
"""The hosts that need no proxy."""

OWN_PREFIX = "OPENLINEAGE_POD_"
"""Prefix of the variables that only this project reads."""
OWN = (
    FLUSH_TIMEOUT,
    GRACE_PERIOD,
    INPUTS,
    LAST_RESORT,
    MAX_EVENT_BYTES,
    OUTPUTS,
    REDACT,
    REPORT,
    SPOOL_DIR,
    SPOOL_MAX_BYTES,
    STRICT,
    SUMMARY,
)
"""All of them, so that a misspelled one is found."""

TRANSPORT = (URL, ENDPOINT, API_KEY, API_KEY_FILE, CONFIG)
"""The variables of the transport, beside those that begin with `CLIENT_PREFIX`."""

NAMES_PARENT = (
    CONTEXT,
    PARENT_ID,
    PARENT_RUN_ID,
    PARENT_JOB_NAME,
    PARENT_JOB_NAMESPACE,
    ROOT_PARENT_ID,
    ROOT_PARENT_RUN_ID,
    ROOT_PARENT_JOB_NAME,
    ROOT_PARENT_JOB_NAMESPACE,
)
"""Every variable that says something about the parent or the root."""

OTHERS = {
    "openlineage-python": ("OPENLINEAGE_CLIENT_LOGGING",),
    "dbt-ol": ("OPENLINEAGE_DBT_JOB_NAME", "OPENLINEAGE_DBT_LOGGING", "OPENLINEAGE_DBT_USE_EXTENDED_JOB_NAME"),
    "Airflow": ("OPENLINEAGE_AIRFLOW_DISABLE_SOURCE_CODE", "OPENLINEAGE_AIRFLOW_LOGGING", "OPENLINEAGE_EXTRACTORS"),
}
"""Variables that only other programs of a pod read, so that none is taken for a misspelled one of ours.

OpenLineage's Java client, and so Spark, reads `OPENLINEAGE_CONFIG`, `OPENLINEAGE_DISABLED` and `OPENLINEAGE__…`.
"""

CLIENT_PARTS = (
    f"{CLIENT_PREFIX}TRANSPORT__TYPE",
    f"{CLIENT_PREFIX}TRANSPORT__URL",
    f"{CLIENT_PREFIX}TRANSPORT__ENDPOINT",
    f"{CLIENT_PREFIX}TRANSPORT__AUTH",
)
"""Those of openlineage-python's configuration in parts that are often misspelled."""

KNOWN = frozenset(
    {
        *(value for name, value in vars().items() if name.isupper() and str(value).startswith("OPENLINEAGE_")),
        *(variable for variables in OTHERS.values() for variable in variables),
    }
    - {OWN_PREFIX, CLIENT_PREFIX}
)
"""Every variable about OpenLineage that somebody reads, without those that begin with `CLIENT_PREFIX`."""
