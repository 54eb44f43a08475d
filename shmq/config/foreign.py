"""Options of kafka-python that clients here know but have no use for, and why.

Owns: their names, kafka-python's defaults, and the reason given when another value is asked for.
Must never: grow an option that does something; those are declared in `producer`, `consumer` and `client`.
Sits: under `client`, which asks it about names that a client does not declare.
"""

from __future__ import annotations

from typing import Final

_NETWORK = "has no meaning for a local broker, which is reached through shared memory; leave it out"
_TRANSACTIONS = "is about transactions, which do not exist here; leave it out"
_METRICS = "is about metric plug-ins, which do not exist here; leave it out and read metrics()"
_CLASS_OF_KAFKA_PYTHON = object()  # no value equals it: these defaults are classes that only kafka-python has

_NETWORK_DEFAULTS: dict[str, object] = {
    "api_version": None,
    "bootstrap_timeout_ms": 30000,
    "client_dns_lookup": "use_all_dns_ips",
    "client_rack": "",
    "connections_max_idle_ms": 540000,
    "enable_incremental_fetch_sessions": True,
    "kafka_client": _CLASS_OF_KAFKA_PYTHON,
    "max_in_flight_requests_per_connection": 5,
    "metadata_max_age_ms": 300000,
    "proxy_url": None,
    "receive_buffer_bytes": None,
    "receive_message_max_bytes": 100_000_000,
    "reconnect_backoff_max_ms": 30000,
    "reconnect_backoff_ms": 50,
    "request_timeout_ms": 30000,
    "retry_backoff_ms": 100,
    "sasl_kerberos_domain_name": None,
    "sasl_kerberos_name": None,
    "sasl_kerberos_service_name": "kafka",
    "sasl_mechanism": None,
    "sasl_oauth_token_provider": None,
    "sasl_plain_password": None,
    "sasl_plain_username": None,
    "security_protocol": "PLAINTEXT",
    "selector": _CLASS_OF_KAFKA_PYTHON,
    "send_buffer_bytes": None,
    "socket_options": [(6, 1, 1)],  # IPPROTO_TCP, TCP_NODELAY, on
    "socks5_proxy": None,
    "ssl_cafile": None,
    "ssl_certfile": None,
    "ssl_check_hostname": True,
    "ssl_ciphers": None,
    "ssl_context": None,
    "ssl_crlfile": None,
    "ssl_keyfile": None,
    "ssl_password": None,
}
_TRANSACTION_DEFAULTS: dict[str, object] = {
    "isolation_level": "read_uncommitted",
    "transaction_timeout_ms": 60000,
    "transactional_id": None,
}
_METRIC_DEFAULTS: dict[str, object] = {
    "metric_group_prefix": "consumer",
    "metric_reporters": [],
    "metrics_num_samples": 2,
    "metrics_sample_window_ms": 30000,
}

FOREIGN: Final[dict[str, tuple[object, str]]] = {
    name: (default, reason)
    for defaults, reason in (
        (_NETWORK_DEFAULTS, _NETWORK),
        (_TRANSACTION_DEFAULTS, _TRANSACTIONS),
        (_METRIC_DEFAULTS, _METRICS),
    )
    for name, default in defaults.items()
}
"""Default and reason for refusing any other value, by name."""
