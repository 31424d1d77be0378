"""A server app for tests: it lends its grid to the test, over a socket in the folder of the run's configuration."""

from multiprocessing.connection import Listener
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid as FlowerGrid
from flwr.serverapp import ServerApp

from privacy.errors import Error
from server.superlink.grid import SiteMessages

app = ServerApp()


@app.main()
def main(grid: FlowerGrid, context: Context) -> None:
    lent = SiteMessages(grid)
    socket = Path(str(context.run_config["folder"])) / str(context.run_config["study"])
    with Listener(str(socket), family="AF_UNIX") as listener, listener.accept() as connection:
        while (call := connection.recv()) is not None:
            method, arguments = call
            try:
                value = getattr(lent, method)(*arguments)
                connection.send(list(value) if method == "poll" else value)
            except Error as error:
                connection.send(error)
