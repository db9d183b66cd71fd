"""The same ports on files: a site file, a folder of manifests, a folder for state."""
