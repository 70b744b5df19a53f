"""Apache Kafka in one JVM (KRaft, broker and controller in one): the real broker for proofs.

Its jars come from Maven Central by way of ``mvn`` and are kept in a cache folder.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flows.devkit.embedded.parts import Part, PartUnavailable, kafka_answers
from flows.runtime.ports import HOST, free_port

VERSION = "4.1.1"
CACHE = Path.home() / ".cache" / "banditflow"
_CLUSTER_ID = "YmFuZGl0Zmxvdy1rYWZrYQ"
_JAVA = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC")
_LOGGING = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>banditflow</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


def jars(cache: Path = CACHE) -> Path:
    """Give the folder of Kafka's jars, resolved on first use; raise :class:`PartUnavailable`."""
    folder = cache / f"kafka-{VERSION}"
    if folder.is_dir():
        return folder
    if shutil.which("mvn") is None:
        raise PartUnavailable("Apache Kafka's jars are not cached and mvn is not installed")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="resolving-") as scratch:
        Path(scratch, "pom.xml").write_text(_POM)
        resolved = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if resolved.returncode != 0:
            first = (
                resolved.stdout.strip() or resolved.stderr.strip() or "no message"
            ).splitlines()
            raise PartUnavailable(f"mvn could not resolve Apache Kafka {VERSION}: {first[0]}")
        try:
            Path(scratch, "jars").rename(folder)
        except OSError:  # another process resolved them meanwhile
            if not folder.is_dir():
                raise
    return folder


def _command(port: int, folder: Path) -> Sequence[str]:
    java = shutil.which("java")
    if java is None:
        raise PartUnavailable("Apache Kafka needs Java 17 or newer and java is not installed")
    classpath = os.path.join(jars(), "*")
    properties = folder / "server.properties"
    if not properties.exists() or f":{port}," not in properties.read_text():
        properties.write_text(_properties(port, free_port(), folder / "log"))
    if not (folder / "log" / "meta.properties").exists():
        _format(java, classpath, properties)
    return [java, *_JAVA, _LOGGING, "-cp", classpath, "kafka.Kafka", str(properties)]


def _format(java: str, classpath: str, properties: Path) -> None:
    tool = [java, "-cp", classpath, "kafka.tools.StorageTool", "format"]
    formatted = subprocess.run(
        [*tool, "-t", _CLUSTER_ID, "-c", str(properties)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if formatted.returncode != 0:
        said = (formatted.stdout + formatted.stderr).strip()
        raise PartUnavailable(f"Apache Kafka could not format its storage: {said}")


def _properties(port: int, controller: int, log: Path) -> str:
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": log,
        # A killed broker may come back only after its old session has run out.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # Events carry their own, perhaps old, times: retention by time would drop them.
        "log.retention.ms": -1,
        "log.cleaner.dedupe.buffer.size": 8 << 20,
        "num.network.threads": 2,
        "num.io.threads": 2,
        "background.threads": 2,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


APACHE_KAFKA = Part("apache-kafka", _command, kafka_answers, timeout=60.0)
