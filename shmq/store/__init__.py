"""What a broker keeps in directories: itself, its topics, and what deaths left behind.

Owns: addresses, directory layout, meta files, the life of topics, cleaning up.
Must never: look into control or segment files; those are the native core's.
Sits: over config and the native core; under the clients, which ask it where a topic lies.
"""

from __future__ import annotations

from . import doorbells as doorbells  # importing it gives the native core its hooks
from .address import broker_directory
from .broker import Broker, open_broker
from .family import Family
from .gc import GcReport, collect, collect_all, collect_instance
from .groups import CONSUMER, QUEUE, SHARE, Group, Groups, check_group_name
from .mapped import Mapped, mapped
from .meta import TopicMeta
from .pages import large_page_bytes
from .shares import ShareMember, SharePlace, Shares
from .steps import open_partition
from .temporary import temporary_broker
from .topics import Topics
from .verify import Finding, verify

__all__ = [
    "CONSUMER",
    "QUEUE",
    "SHARE",
    "Broker",
    "Family",
    "Finding",
    "GcReport",
    "Group",
    "Groups",
    "Mapped",
    "ShareMember",
    "SharePlace",
    "Shares",
    "TopicMeta",
    "Topics",
    "broker_directory",
    "check_group_name",
    "collect",
    "collect_all",
    "collect_instance",
    "large_page_bytes",
    "mapped",
    "open_broker",
    "open_partition",
    "temporary_broker",
    "verify",
]
