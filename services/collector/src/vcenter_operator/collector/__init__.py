"""The collector stage of vcenter-operator."""
