"""Add the numbers of many owners, each under a key of their own, with a cloud and an authority (Li et al. 2017).

===========  ======================================  =========================================================
party        holds                                   sees
===========  ======================================  =========================================================
owner        their own key a                         their own numbers, and the sums that are sent to them
cloud        no key; the blinding of a moment        ciphertexts
authority    the master key, and the system's key    numbers blinded by the cloud, uniform modulo N
===========  ======================================  =========================================================

1. Each owner encrypts under their own key and sends that to the cloud.
2. The cloud blinds every number and asks the authority, who opens it with the master key and encrypts it under the
   system's key: now all numbers are under one key. The cloud takes the blinding off, and adds.
3. The cloud blinds the sum anew for each owner. The authority opens it, and encrypts it under the owner's key. The
   cloud takes that blinding off, and the owner decrypts.

The paper's system key is one of fully homomorphic encryption, and the cloud trains under it. For sums an additive key
is enough, and it is one of the same scheme here.

**Guarantee.** A cloud and an authority that follow the protocol, and do not talk to each other beside it, learn no
number; owners who follow it learn sums.

**What breaks it**, as tests beside this module show: *cloud and authority together* read everything. *The cloud with
one owner* reads everybody's single numbers, because the authority, to whom all is blinded, cannot see whether it
serves a sum or one owner's number. The authority serves registered owners only, which keeps a cloud without one out.

Source: Li, Li, Huang, Li, Yiu and Chen 2017, "Multi-key privacy-preserving deep learning in cloud computing", Future
Generation Computer Systems 74.
"""

import secrets
from collections.abc import Callable, Sequence
from enum import StrEnum
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol

from privacy.errors import SealingError
from privacy.randomness import from_os
from privacy.secure_aggregation.schemes.bcp import BcpCiphertext, BcpKey, BcpMaster, BcpParameters


class Secret(StrEnum):
    """What must not come together in one place."""

    OWN_KEY = "the key of one owner"
    BLINDING = "the cloud's blinding"
    MASTER_KEY = "the master key"
    SYSTEM_KEY = "the system's key"


class Party(StrEnum):
    """Who takes part."""

    OWNER = "owner"
    CLOUD = "cloud"
    AUTHORITY = "authority"


HOLDINGS: Final[dict[Party, frozenset[Secret]]] = {
    Party.OWNER: frozenset({Secret.OWN_KEY}),
    Party.CLOUD: frozenset({Secret.BLINDING}),
    Party.AUTHORITY: frozenset({Secret.MASTER_KEY, Secret.SYSTEM_KEY}),
}
"""Who holds what. No party holds a key and the blinding."""


class Published(NamedTuple):
    """What the authority publishes: N and g, and the system's public key."""

    parameters: BcpParameters
    system: int


class Authority(Protocol):
    """What the cloud asks of the authority."""

    @property
    def published(self) -> Published:
        """What everybody knows."""
        ...

    def unify(self, blinded: BcpCiphertext, public: int) -> BcpCiphertext:
        """Encrypt under the system's key what a registered owner has encrypted, and the cloud has blinded."""
        ...

    def hand_over(self, blinded: BcpCiphertext, public: int) -> BcpCiphertext:
        """Encrypt for a registered owner what is under the system's key, and the cloud has blinded."""
        ...


class LocalAuthority:
    """The authority's own side. It lives in a process of its own: :class:`AuthorityProcess`."""

    def __init__(self, master: BcpMaster, owners: Sequence[int]) -> None:
        self._master = master
        self._system = BcpKey.generate(master.parameters)
        self._owners = set(owners)
        self.seen: list[int] = []
        """Every number it has opened."""

    @property
    def published(self) -> Published:
        """See :class:`Authority`."""
        return Published(self._master.parameters, self._system.public)

    def register(self, public: int) -> None:
        """Admit an owner by their public key, which they have shown by another way than through the cloud."""
        self._owners.add(public)

    def unify(self, blinded: BcpCiphertext, public: int) -> BcpCiphertext:
        """See :class:`Authority`."""
        self._require_owner(public)
        self.seen.append(self._master.decrypt(blinded, public))
        return self._master.parameters.encrypt(self.seen[-1], self._system.public)

    def hand_over(self, blinded: BcpCiphertext, public: int) -> BcpCiphertext:
        """See :class:`Authority`."""
        self._require_owner(public)
        self.seen.append(self._system.decrypt(blinded))
        return self._master.parameters.encrypt(self.seen[-1], public)

    def _require_owner(self, public: int) -> None:
        if public not in self._owners:
            raise SealingError("the authority serves registered owners only, and this key is none of theirs")


class Cloud:
    """The cloud: ciphertexts, and no key. Its blinding lives in the one call that needs it."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._parameters, self._system = authority.published
        self.total: BcpCiphertext | None = None
        """The sum under the system's key."""

    def take(self, ciphertext: BcpCiphertext, public: int) -> None:
        """Add an owner's number to the sum.

        Run by the cloud.

        Raises:
            SealingError: the owner is not registered.
        """
        one = self.unify(ciphertext, public)
        self.total = one if self.total is None else self._parameters.add([self.total, one])

    def unify(self, ciphertext: BcpCiphertext, public: int) -> BcpCiphertext:
        """Have an owner's number encrypted under the system's key."""
        blinding = secrets.randbelow(self._parameters.modulus)
        blinded = self._parameters.add([ciphertext, self._parameters.encrypt(blinding, public)])
        return self._parameters.shift(self._authority.unify(blinded, public), -blinding)

    def give(self, public: int) -> BcpCiphertext:
        """Return the sum under an owner's key.

        Run by the cloud.

        Raises:
            SealingError: there is no sum, or the owner is not registered.
        """
        if self.total is None:
            raise SealingError("nothing has been added: there is no sum to give")
        return self.hand_over(self.total, public)

    def hand_over(self, ciphertext: BcpCiphertext, public: int) -> BcpCiphertext:
        """Have a number under the system's key encrypted under an owner's."""
        blinding = secrets.randbelow(self._parameters.modulus)
        blinded = self._parameters.add([ciphertext, self._parameters.encrypt(blinding, self._system)])
        return self._parameters.shift(self._authority.hand_over(blinded, public), -blinding)


class AuthorityProcess:
    """The authority in a process of its own, which draws its keys there. Only ciphertexts go in and out.

    Use as a context: the process ends with it. The pipe carries pickles, which is for one machine: it shows who holds
    what, and is no protocol between parties that distrust each other's programs.
    """

    def __init__(self, bits: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, bits), daemon=True)
        self.process.start()
        theirs.close()
        self.published: Published = self._receive()

    def __enter__(self) -> "AuthorityProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()  # the process reads the end of it, and ends
        self.process.join()

    def register(self, public: int) -> None:
        """Admit an owner."""
        self._ask("register", public)

    def unify(self, blinded: BcpCiphertext, public: int) -> BcpCiphertext:
        """See :class:`Authority`."""
        return BcpCiphertext(*self._ask("unify", blinded, public))

    def hand_over(self, blinded: BcpCiphertext, public: int) -> BcpCiphertext:
        """See :class:`Authority`."""
        return BcpCiphertext(*self._ask("hand_over", blinded, public))

    def _ask(self, what: str, *arguments: object) -> Any:
        self._pipe.send((what, *arguments))
        return self._receive()

    def _receive(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, str):
            raise SealingError(answer)
        return answer


def _serve(pipe: Connection, bits: int) -> None:
    authority = LocalAuthority(BcpMaster.draw(from_os(), bits), [])
    answers: dict[str, Callable[..., object]] = {
        "register": authority.register,
        "unify": authority.unify,
        "hand_over": authority.hand_over,
    }
    pipe.send(authority.published)
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(answers[what](*arguments))
        except SealingError as error:
            pipe.send(str(error))
