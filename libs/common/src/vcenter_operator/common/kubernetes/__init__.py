"""What the stages share of Kubernetes: requests, watches, the record, epochs and CRDs."""
