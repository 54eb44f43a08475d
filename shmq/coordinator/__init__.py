"""The coordinator of a broker: a process of its own that assigns partitions to the members of groups, and cleans up."""
