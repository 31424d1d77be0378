"""Sign a call that changes something, so that whoever relays it can neither make up nor repeat it.

The gateway ends the caller's TLS connection. It could therefore send calls in the name of everybody who connects, if
a certificate alone were enough. An order is signed by the caller's identity key, which the gateway never has.

Rules, checked by :class:`OrderBook`:

* the order is signed with the identity key under which its caller is enrolled, and names the caller, this federation,
  the call, and the SHA-256 of exactly the bytes of the request;
* it is at most :data:`MAX_AGE_S` old, or as much ahead of this clock;
* its nonce was not used before, also not before this process started: the audit log has every order.
"""

import secrets
import threading
import time
from collections.abc import Iterable
from typing import ClassVar, Final

from pydantic import Field

from privacy import labels
from privacy.canonical import compute_sha256, from_canonical
from privacy.document import parse
from privacy.errors import RefusedCallError, WireError
from privacy.fields import Digest
from privacy.keys import PublicKey, SigningKey
from privacy.signed import Signed, Statement
from privacy.study import Name

ORDER_METADATA: Final = "consilium-order-bin"
MAX_AGE_S: Final = 300.0
REMEMBER_S: Final = 2 * MAX_AGE_S
"""From when an order is used at the earliest, signed by a clock that is ahead, until it is too old."""
MAX_ORDER_BYTES: Final = 4096


class Order(Statement):
    """One call of the control plane. Signed by its caller."""

    label: ClassVar[str] = labels.CONTROL_ORDER

    federation: Name
    caller: Name
    call: str = Field(pattern=r"^[A-Za-z]{1,40}$")
    request: Digest
    time: float = Field(ge=0, le=1e11)
    """Seconds since 1970, by the caller's clock."""
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")


SignedOrder = Signed[Order]


def sign_order(key: SigningKey, federation: str, caller: str, call: str, request: bytes) -> bytes:
    """Sign the call ``call`` with the request's bytes; return what goes into the metadata. Run by the caller."""
    order = Order(
        federation=federation,
        caller=caller,
        call=call,
        request=compute_sha256(request),
        time=time.time(),
        nonce=secrets.token_hex(16),
    )
    return SignedOrder.sign(key, order).to_bytes()


class OrderBook:
    """Verify orders, each once. Run by the coordinator. Safe to use from several threads.

    Args:
        federation: its name.
        used: orders that were used already, as the audit log has them; those of the last :data:`REMEMBER_S` are enough.
    """

    def __init__(self, federation: str, used: Iterable[str] = ()) -> None:
        self._federation = federation
        orders = (parse(from_canonical(each.encode("utf-8")), SignedOrder, WireError, "order") for each in used)
        self._used = {each.statement.nonce: each.statement.time + MAX_AGE_S for each in orders}
        self._lock = threading.Lock()

    def verify(
        self, data: bytes | None, key: PublicKey, caller: str, call: str, request: bytes, now: float
    ) -> Order:
        """Verify the order of one call, and use it up.

        Raises:
            RefusedCallError: a rule of this module is broken.
        """
        if data is None or len(data) > MAX_ORDER_BYTES:
            raise RefusedCallError(
                f"the call {call} changes something and must carry an order signed by its caller"
            )
        try:
            signed = parse(from_canonical(data), SignedOrder, WireError, "order")
            order = signed.verify(key)
        except WireError as error:
            raise RefusedCallError(f"the order of the call {call} is not valid: {error}") from None
        expected = (self._federation, caller, call, compute_sha256(request))
        if (order.federation, order.caller, order.call, order.request) != expected:
            raise RefusedCallError(f"the order is for another call than {call} by '{caller}' with these arguments")
        if abs(now - order.time) > MAX_AGE_S:
            raise RefusedCallError(
                f"the order was signed {now - order.time:.0f} s ago by its caller's clock, and {MAX_AGE_S:.0f} s are "
                "allowed: set the clock of that machine or of the coordinator"
            )
        self._use(order, now)
        return order

    def _use(self, order: Order, now: float) -> None:
        with self._lock:
            self._used = {nonce: until for nonce, until in self._used.items() if until > now}
            if order.nonce in self._used:
                raise RefusedCallError(f"the order of this call {order.call} was used before; make the call again")
            self._used[order.nonce] = order.time + MAX_AGE_S
