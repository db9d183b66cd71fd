"""The applier stage of vcenter-operator."""
