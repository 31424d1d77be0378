"""Rounds of stock Flower: send a float32 model to every site and back, and write the seconds to a file."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Exchange ``parameters`` values with ``sites`` sites ``rounds`` times; write the seconds to ``result``."""
    config = context.run_config
    sites, rounds, parameters = int(config["sites"]), int(config["rounds"]), int(config["parameters"])
    while len(nodes := list(grid.get_node_ids())) < sites:
        time.sleep(0.1)
    model = np.random.default_rng(0).standard_normal(parameters, dtype=np.float32)
    seconds = []
    for _ in range(rounds):
        model = model + np.float32(1)
        began = time.monotonic()
        content = RecordDict({"arrays": ArrayRecord([model])})
        replies = list(grid.send_and_receive([Message(content, node, "train") for node in nodes]))
        received = [reply.content["arrays"] for reply in replies if not reply.has_error()]
        seconds.append(time.monotonic() - began)
        assert len(received) == sites, f"{len(received)} of {sites} sites have answered"
    Path(str(config["result"])).write_text(json.dumps(seconds))
