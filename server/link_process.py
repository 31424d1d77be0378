"""The SuperLink's process: Flower's own program, with our gate in front of its API and our plugin for its database.

Run as ``python -m server.link_process`` with the arguments of ``flower-superlink``. The one thing changed in Flower is
the function that makes its web application; if a release of Flower has no such function, this ends at once.
"""

from typing import Any

from flwr.superlink import main as superlink
from flwr.superlink.cli import flower_superlink

from server import link_store
from server.link_gate import Gate


def main() -> None:
    """Run until stopped."""
    link_store.register()
    make = superlink.create_app

    def make_gated(*arguments: Any, **named: Any) -> Any:
        app = make(*arguments, **named)
        app.add_middleware(Gate)
        return app

    superlink.create_app = make_gated
    flower_superlink()


if __name__ == "__main__":
    main()
