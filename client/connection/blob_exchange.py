"""Answer an envelope whose blobs travel beside it: fetch what the request names, send what the reply names.

* A request is verified before anything is fetched for it, and no more is fetched than the largest aggregate that this
  site can be sent.
* An aggregate may be decrypted while it is fetched. It counts for nothing before it is whole and verified.
* A sealed update may begin to leave while it is sealed, and has arrived before the reply that names it is sent.
* Where the time of an answer went is in the site's log, step by step.
* The last aggregate is kept until the next one: a coordinator that asks again names the same one.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from client.connection.client_app import Answer
from client.connection.link import Wait
from client.connection.renewal import connect_to_control_plane
from client.connection.transfers import Transfers
from client.site.folder import SiteFolder
from client.study.opening_ahead import OnFetching, open_later
from client.study.outgoing_update import OnSealing
from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.protocol.envelope import Blob, BlobNote, Body, Envelope, read_body, require_route, verify_body
from privacy.protocol.messages import Open, Sealed, Train
from privacy.step_times import describe_steps, measure_step, take_steps
from privacy.study import COORDINATOR

_log = logging.getLogger(__name__)

SealingAnswer = Callable[[Envelope, OnSealing], Envelope]
"""Answers an envelope, and tells of an update before it is sealed."""


def exchange_blobs(
    home: SiteFolder, answer: SealingAnswer, limit: Callable[[], int], on_fetching: OnFetching = open_later
) -> Callable[[Wait], Answer]:
    """Return what makes an answer that moves blobs around ``answer``, given how to wait through an outage."""
    admission = home.load_admission()
    coordinator = PublicKey.from_text(admission.coordinator)

    def make(wait: Wait) -> Answer:
        transfers = Transfers(lambda: connect_to_control_plane(home), home.folder / "studies", wait)
        return BlobExchange(admission.name, answer, transfers, coordinator, limit, on_fetching).answer

    return make


class BlobExchange:
    """Answers with ``answer``, and moves the blobs.

    Args:
        name: the site's.
        answer: answers an envelope that has its blobs, and tells of an update that begins to be sealed.
        transfers: moves them.
        coordinator: the key that signs requests.
        limit: returns how many bytes an aggregate may have now, at most.
        on_fetching: told of a verified request's aggregate before it is fetched.
    """

    def __init__(
        self,
        name: str,
        answer: SealingAnswer,
        transfers: Transfers,
        coordinator: PublicKey,
        limit: Callable[[], int],
        on_fetching: OnFetching = open_later,
    ) -> None:
        self._name = name
        self._answer = answer
        self._transfers = transfers
        self._coordinator = coordinator
        self._limit = limit
        self._on_fetching = on_fetching
        self._kept: tuple[BlobNote, Blob] | None = None

    def answer(self, envelope: Envelope) -> Envelope:
        """Answer ``envelope``.

        Raises:
            WireError: it is not the coordinator's, or names blobs that no request has.
            InterruptError: the coordinator does not want the answer any more, or the site is to stop.
            Error: as the answer.
        """
        body = verify_body(envelope, self._coordinator)
        require_route(body, COORDINATOR, self._name)
        take_steps()
        try:
            with measure_step("else"):
                reply = self._answer(replace(envelope, blobs=self._fetch(body)), self._transfers.begin)
                self._send(reply)
        finally:
            self._transfers.close()  # a renewed certificate is shown from the next message on
        _log.info("%s: '%s' is answered: %s", body.study, body.content.kind, describe_steps(take_steps()))
        return Envelope(reply.body, reply.signature)

    @measure_step("fetch")
    def _fetch(self, body: Body) -> tuple[Blob, ...]:
        if not body.blobs:
            return ()
        request = body.content
        if not isinstance(request, Train | Open) or request.committed is None or len(body.blobs) > 1:
            raise WireError(f"a '{request.kind}' request names {len(body.blobs)} blobs that it cannot have")
        (note,) = body.blobs
        if note.length > (most := self._limit()):
            raise WireError(f"an aggregate of {note.length} bytes is announced, expected at most {most}")
        if self._kept is None or self._kept[0] != note:
            self._kept = None  # freed before the next one is fetched
            self._kept = (
                note,
                self._transfers.fetch(
                    body.study, request.committed.round, note, lambda file: self._on_fetching(body, file)
                ),
            )
        return (self._kept[1],)

    @measure_step("send")
    def _send(self, reply: Envelope) -> None:
        if not reply.blobs:
            return
        body = read_body(reply)
        assert isinstance(body.content, Sealed)
        mask = body.content.header.statement.own_mask
        for note, blob in zip(body.blobs, reply.blobs, strict=True):
            self._transfers.send(body.study, mask, note, blob)
