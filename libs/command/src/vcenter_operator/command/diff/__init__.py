"""`vcenter-operator diff`: what would change now, object by object. The pipeline runs dry, with its real inputs."""
