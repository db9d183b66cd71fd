"""Where inventories come from: `vcenter` for real, `embedded` from a site file."""
