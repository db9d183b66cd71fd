"""What every stage of vcenter-operator shares: messages, the bus, the record, configuration and telemetry."""
