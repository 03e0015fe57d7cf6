"""What the address of a data service may look like; tests/tools/test_data_service.py has the service itself."""

import pytest
import tensorflow as tf

from kerascnn.data import service


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:", ":5050", "http://localhost:5050", "a b:1", "host:123456"]
)
def test_a_wrong_address(address):
    with pytest.raises(ValueError, match="is not of the form host:port"):
        service.distribute(tf.data.Dataset.range(3), address)
