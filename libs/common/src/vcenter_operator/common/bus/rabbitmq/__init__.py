"""The bus on RabbitMQ (3.10 or later), through aio-pika."""

from vcenter_operator.common.bus.rabbitmq.adapter import RabbitMQBus

__all__ = ["RabbitMQBus"]
