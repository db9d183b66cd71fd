"""The bus: partitions of statements, each owned by one replica of a stage at a time."""

from vcenter_operator.common.bus.port import Bus, Consumer, Epochs, Ownership, Parked, Topology

__all__ = ["Bus", "Consumer", "Epochs", "Ownership", "Parked", "Topology"]
