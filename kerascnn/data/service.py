"""Preparing training batches on other machines, by tf.data's service.

The service gives each worker batch numbers of its own, of which it makes the batches. A worker that dies takes the
numbers it held with it; `kerascnn.data.lost` counts them.
"""

import re
import socket

import tensorflow as tf


def distribute(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Has the workers behind a dispatcher make the batches, in no certain order.

    Args:
      batches: begins with a range of numbers, which the workers share out among them.
      address: `host:port`, or `grpc://host:port`.

    Raises:
      ValueError: not such an address.
      OSError: no dispatcher answers there.
    """
    match = re.fullmatch(r"(?:grpc://)?([\w.\-\[\]:]+):(\d{1,5})", address)
    if not match:
        raise ValueError(f"data_service={address!r} is not of the form host:port.")
    try:  # TensorFlow would try for ever
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise OSError(f"no data service answers at {address}: start one with python -m tools.data_service") from error
    return batches.apply(
        tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
            service=f"grpc://{match[1]}:{match[2]}",
        )
    )
