"""The discovery stage of vcenter-operator."""
