"""A server app for tests that ends as a study does which cannot continue."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from privacy.errors import StoppedError
from server.superlink.server_app import keep_log

app = ServerApp()


@app.main()
def main(_: Grid, context: Context) -> None:
    keep_log(Path(str(context.run_config["folder"])) / "failing.log")
    raise StoppedError("too few sites are left: expected 3, got 2")
