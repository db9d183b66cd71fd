"""The renderer stage of vcenter-operator."""
