"""The options of topics and of clients: names, defaults, ranges, meaning.

Owns: the one declaration of each option, from which checks, messages and the README's tables are made.
Must never: touch a file, read the environment or know what an option is used for elsewhere.
Sits: right of errors and types; left of store and the clients.
"""

from __future__ import annotations

from .broker import BrokerConfig
from .checks import checked_timeout_ms
from .client import AdminConfig
from .consumer import ConsumerConfig
from .items import ItemType
from .options import options_table
from .producer import ProducerConfig
from .share import ShareConsumerConfig
from .suggest import did_you_mean
from .topic import TopicConfig

__all__ = [
    "AdminConfig",
    "BrokerConfig",
    "ConsumerConfig",
    "ItemType",
    "ProducerConfig",
    "ShareConsumerConfig",
    "TopicConfig",
    "checked_timeout_ms",
    "did_you_mean",
    "options_table",
]
