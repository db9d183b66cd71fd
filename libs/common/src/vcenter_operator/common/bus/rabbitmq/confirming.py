"""One message on a channel with confirms."""

from __future__ import annotations

from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError
from aiormq.channel import Channel as UnderlayChannel

from vcenter_operator.common.bus.rabbitmq.connection import Link, answered
from vcenter_operator.common.errors import BusUnavailable


class Unroutable(BusUnavailable):
    """There is no queue that would take it."""


async def confirmed(
    link: Link, channel: AbstractChannel, exchange: str, key: str, message: Message, *, mandatory: bool = True
) -> None:
    """Publishes on a channel with confirms. Raises BusUnavailable; Unroutable where it is `mandatory`."""
    async with answered(f"publishing to {exchange}"):
        await link.writable()  # what is not read would pile up here with every attempt
        try:
            underlay = await channel.get_underlay_channel()
            assert isinstance(underlay, UnderlayChannel)
            # Who waits for the confirm need not wait for the socket too.
            await underlay.basic_publish(
                message.body,
                exchange=exchange,
                routing_key=key,
                properties=message.properties,
                mandatory=mandatory,
                wait=False,
            )
        except PublishError:
            raise Unroutable(f"publishing to {exchange}: no queue takes '{key}'") from None
        except DeliveryError:
            raise BusUnavailable(f"publishing to {exchange}: the broker refused it") from None
