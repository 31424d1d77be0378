"""Where a coordinator listens, unless its folder says otherwise."""

from typing import Final

LOOPBACK: Final = "127.0.0.1"
SUPERLINK_PORT: Final = 9092
CONTROL_PORT: Final = 9093
