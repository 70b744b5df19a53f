"""What is wrong with the settings of the Kafka client, by the variables that they come from."""

from pathlib import Path

from confluent_kafka import KafkaException

from schemas.settings import KafkaSettings

_VARIABLES = {
    "bootstrap.servers": "BOOTSTRAP_SERVERS",
    "metadata.broker.list": "BOOTSTRAP_SERVERS",
    "security.protocol": "KAFKA_SECURITY",
    "sasl.mechanism": "KAFKA_MECHANISM",
    "sasl.mechanisms": "KAFKA_MECHANISM",
    "sasl.username": "KAFKA_USERNAME",
    "sasl.password": "KAFKA_PASSWORD",
    "ssl.ca.location": "KAFKA_CA",
    "ssl.certificate.location": "KAFKA_CERT",
    "ssl.key.location": "KAFKA_KEY",
}
"""The client's settings that have a variable of their own."""

_RELIED_ON = {
    "acks", "request.required.acks", "partitioner", "transactional.id", "group.id",
    "group.protocol", "enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store",
    "enable.partition.eof", "auto.offset.reset", "allow.auto.create.topics",
    "delivery.report.only.error", "default.topic.config",
}  # fmt: skip
"""With another value records would be lost, repeated or misrouted."""

_TELLING = 4
"""Characters of an option's value from which on it is not repeated: it may be a secret."""


def flaw_of_options(settings: KafkaSettings) -> str | None:
    """Say which option or file of the settings cannot be used; None where all can."""
    for name, value in settings.options.items():
        why = _flaw_of_option(name, value)
        if why is not None:
            return f"BANDITFLOW_KAFKA_OPTIONS: {name!r}: {why}"
    files = {"KAFKA_CA": settings.ca, "KAFKA_CERT": settings.cert, "KAFKA_KEY": settings.key}
    for variable, path in files.items():
        why = _unreadable(path, folder_will_do=variable == "KAFKA_CA") if path else None
        if why is not None:
            return f"BANDITFLOW_{variable}: {path} cannot be read: {why}"
    return None


def _flaw_of_option(name: str, value: str) -> str | None:
    if name in _VARIABLES:
        return f"set BANDITFLOW_{_VARIABLES[name]} instead"
    if name in _RELIED_ON or name.endswith("_cb") or name == "logger":
        return "cannot be changed: the flows rely on it"
    if not name.isprintable() or "\0" in value:
        return "holds a control character"
    return None


def _unreadable(path: str, folder_will_do: bool) -> str | None:
    try:
        if not (folder_will_do and Path(path).is_dir()):
            Path(path).read_bytes()
    except OSError as error:
        return error.strerror
    return None


def refusal(settings: KafkaSettings, error: Exception) -> str:
    """Say which variable the client refuses, by what it raised, and no value of an option."""
    text = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    why = " ".join(text.split())
    for value in settings.options.values():
        if len(value) >= _TELLING:
            why = why.replace(value, "***")
    named = [name for name in _VARIABLES if name in why]
    if named:
        variable = _VARIABLES[max(named, key=len)]
    elif "SASL mechanism" in why:
        variable = "KAFKA_MECHANISM"
    else:
        variable = "KAFKA_OPTIONS" if settings.options else "KAFKA_…"
    return f"BANDITFLOW_{variable}: the Kafka client refuses its settings: {why}"
