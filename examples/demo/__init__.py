"""The main job on files: no DNS, no vCenter, no Kubernetes, no RabbitMQ."""
