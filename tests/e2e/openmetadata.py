# mypy: disable-error-code="import-not-found"
"""Run OpenMetadata's own OpenLineage connector without Kafka and without a server.

This is a program. It runs in the environment that `programs.openmetadata` makes, where this package is not installed.

Each line on stdin is a JSON object: the services, tables, brokers and topics that the catalog holds, the mapping from
namespaces to services, and the events. Each line on stdout is what a new connector made of them, event by event: the
pipelines that it asked the server to create, the edges, its failures and its warnings.

The connector's code is real, from the parsing of a message to the requests for the server. Only the Kafka consumer
and the client of the server are replaced.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import NAMESPACE_URL, UUID, uuid5

from metadata.generated.schema.api.data.createPipeline import CreatePipelineRequest
from metadata.generated.schema.entity.data.pipeline import Pipeline
from metadata.generated.schema.entity.data.table import Table
from metadata.generated.schema.entity.data.topic import Topic
from metadata.generated.schema.entity.services.messagingService import MessagingService
from metadata.generated.schema.entity.services.pipelineService import PipelineService
from metadata.ingestion.source.pipeline.openlineage import connection
from metadata.ingestion.source.pipeline.openlineage.metadata import OpenlineageSource
from metadata.utils import fqn as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOGGERS = ("metadata.Ingestion", "metadata.OMetaAPI", "metadata.Utils")
_BROKER = {"brokersUrl": "none:9092", "topicName": "openlineage", "consumerGroupName": "e2e", "poolTimeout": 1.0}


class Server:
    """Stands in for the client of the server, and knows a catalog.

    It finds entities as the server does: by the exact name in `get_by_name`, regardless of case in the search.
    """

    def __init__(self, catalog: Mapping[str, Any]) -> None:
        self._catalog = catalog
        self.pipelines: list[str] = []
        self.client = SimpleNamespace(get=self._service)
        self.config = SimpleNamespace(forceEntityOverwriting=False)

    def name(self, reference: Any) -> str | None:
        """Return the full name of the entity that a request refers to."""
        known = [*self._catalog["tables"], *self._catalog["topics"], *self.pipelines]
        return {_id(name): name for name in known}[UUID(str(reference.id.root))] if reference else None

    def get_by_name(self, entity: Any, fqn: str, *_: Any, **__: Any) -> Any:
        short = fqn.rpartition(".")[2]
        if entity is PipelineService:
            return SimpleNamespace(id=_id(fqn), name=SimpleNamespace(root=fqn))
        if entity is Table and fqn in self._catalog["tables"]:
            return Table(id=_id(fqn), name=short, columns=[], fullyQualifiedName=fqn)
        if entity is Topic and fqn in self._catalog["topics"]:
            service = {"id": _id("bus"), "type": "messagingService"}
            return Topic(id=_id(fqn), name=short, service=service, partitions=1, fullyQualifiedName=fqn)
        if entity is Pipeline and fqn in self.pipelines:
            service = {"id": _id("openlineage"), "type": "pipelineService"}
            return Pipeline(id=_id(fqn), name="pipeline", service=service, fullyQualifiedName=fqn)
        return None

    def es_search_from_fqn(self, entity_type: Any, fqn_search_string: str, *_: Any, **__: Any) -> Any:
        pattern = fqn_search_string.lower()
        tables = [each for each in self._catalog["tables"] if fnmatch.fnmatchcase(each.lower(), pattern)]
        return [self.get_by_name(Table, each) for each in tables] if entity_type is Table and tables else None

    def list_all_entities(self, entity: Any, *_: Any, **__: Any) -> Iterator[Any]:
        if entity is MessagingService:
            for name, brokers in self._catalog["brokers"].items():
                settings = SimpleNamespace(config=SimpleNamespace(bootstrapServers=brokers))
                yield SimpleNamespace(name=name, connection=settings, fullyQualifiedName=SimpleNamespace(root=name))

    def create_or_update(self, request: Any) -> Any:
        return request

    def get_create_service_from_source(self, entity: Any, config: Any) -> Any:  # noqa: ARG002
        return SimpleNamespace(name=SimpleNamespace(root=config.serviceName))

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return a method that finds nothing, for all that the connector asks beyond lineage."""
        return lambda *_, **__: None

    def _service(self, path: str) -> Any:
        return {"serviceType": self._catalog["services"][path.rpartition("/")[2]]}


class KafkaConsumer:
    """Stands in for the consumer of Kafka, and returns each message once."""

    def __init__(self, _: Any) -> None:
        self.messages: list[bytes] = []

    def poll(self, timeout: float) -> Any:  # noqa: ARG002
        if not self.messages:
            return None
        message = self.messages.pop(0)
        return SimpleNamespace(value=lambda: message, error=lambda: None)

    def subscribe(self, topics: list[str]) -> None: ...

    def close(self) -> None: ...


class Warnings(logging.Handler):
    """Keeps what the connector warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def answer(question: Mapping[str, Any], warnings: Warnings) -> list[dict[str, Any]]:
    """Return what a new connector makes of each event of a question."""
    server = Server(question["catalog"])
    source = new_source(server, question["catalog"]["services"], question["mapping"])
    found = []
    for event in question["events"]:
        source.client.messages.append(json.dumps(event).encode())
        source.status.failures.clear()
        warnings.texts.clear()
        created: list[str] = []
        edges = []
        for request in source.run():
            if isinstance(request, CreatePipelineRequest):
                service, name = request.service.root, request.name.root
                created.append(names.build(None, Pipeline, service_name=service, pipeline_name=name))
                server.pipelines.append(created[-1])  # as the server would, before the connector goes on
            elif edge := getattr(getattr(request, "lineage_request", request), "edge", None):
                edges.append(described(edge, server))
        failures = [f"{failure.name}: {failure.error}" for failure in source.status.failures]
        found.append({"pipelines": created, "edges": edges, "failures": failures, "warnings": list(warnings.texts)})
    return found


def described(edge: Any, server: Server) -> dict[str, Any]:
    """Return an edge with the names of what it connects."""
    return {
        "from": server.name(edge.fromEntity),
        "to": server.name(edge.toEntity),
        "pipeline": server.name(edge.lineageDetails.pipeline),
        "columns": {
            column.toColumn.root: [origin.root for origin in column.fromColumns]
            for column in edge.lineageDetails.columnsLineage or ()
        },
    }


def new_source(server: Server, services: Mapping[str, str], mapping: Mapping[str, str]) -> Any:
    """Return a new connector, configured as a user would configure it."""
    lineage = {"dbServiceNames": list(services)}
    settings = {"type": "OpenLineage", "brokerConfig": _BROKER, "namespaceToServiceMapping": mapping}
    configuration = {
        "type": "openlineage",
        "serviceName": "openlineage",
        "serviceConnection": {"config": settings},
        "sourceConfig": {"config": {"type": "PipelineMetadata", "lineageInformation": lineage}},
    }
    with (
        mock.patch.object(connection, "KafkaConsumer", KafkaConsumer),
        mock.patch.object(OpenlineageSource, "test_connection", return_value=None),
    ):
        source = OpenlineageSource.create(configuration, server)
    source.service_connection.brokerConfig.sessionTimeout = 0  # it ends when there is no message
    source.prepare()
    return source


def _id(name: str | None) -> UUID:
    return uuid5(NAMESPACE_URL, str(name))


def main() -> None:
    """Answer questions until there are no more."""
    warnings = Warnings()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [warnings]
        logger.propagate = False
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), warnings)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
