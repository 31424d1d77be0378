"""A site of stock Flower that does no work: it sends back what it receives, changed differently at each site."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer with as many float32 values as the message has."""
    arrays = message.content["arrays"]
    assert isinstance(arrays, ArrayRecord)
    (values,) = arrays.to_numpy_ndarrays()
    changed = values + np.float32(context.node_id % 1000)
    return Message(RecordDict({"arrays": ArrayRecord([changed])}), reply_to=message)
