"""A site's testimony as a file: written by its command, whole or refused, and what ``reconcile`` makes of it."""

import base64
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.small_study import small_terms
from client.cli import cli as site_cli
from privacy.audit.cli import cli
from privacy.canonical import compute_sha256, to_canonical
from privacy.errors import Error, LedgerError, SiteConfigError
from privacy.labels import HEADER, make_prefix
from privacy.ledger.testimony import StudySeen
from privacy.protocol.site_testimony import (
    HeaderSeen,
    SiteOpening,
    SiteTestimonyTrailer,
    format_site_testimony,
    read_site_testimony,
)
from privacy.signed import Signed
from server.federation.testimony import write_testimony
from tests.protocol.conftest import Found
from tests.simulator import Simulator


@pytest.fixture
def simulator(found: Found) -> Simulator:
    simulator = found(small_terms(training={"rounds": 1}, evaluation={"rounds": []}))
    simulator.run()
    return simulator


def written(simulator: Simulator, name: str) -> Path:
    path = simulator.folder / f"{name}-seen.jsonl"
    arguments = ["--dir", str(simulator.homes[name].folder), "ledger", "testimony", "--out", str(path)]
    CliRunner().invoke(site_cli, arguments, catch_exceptions=False)
    return path


def reconciled(*files: Path) -> str:
    result = CliRunner().invoke(cli, ["reconcile", *map(str, files)])
    assert result.exit_code in (0, 2), result.output
    return result.output


def test_testimonies_of_all_and_every_ledger_agree(simulator: Simulator) -> None:
    coordinator = simulator.folder / "testimony.jsonl"
    write_testimony(simulator.federation, coordinator)
    files = [coordinator, *(written(simulator, name) for name in simulator.names)]
    files += [simulator.homes[name].ledger_path for name in simulator.names]
    output = reconciled(*files)
    assert "with 4 ledgers (ash, birch, cedar, elm): 0 contradictions, 0 remarks" in output
    assert "of ash's ledger is the newest that other sites have seen: birch, cedar, elm" in output
    assert reconciled(*files, files[1]) == output  # given twice, it counts once


def test_one_testimony_needs_a_ledger_or_another_testimony(simulator: Simulator) -> None:
    ash, birch = written(simulator, "ash"), written(simulator, "birch")
    assert "consilium-site ledger export FILE" in reconciled(ash)
    assert "0 contradictions, 0 remarks" in reconciled(ash, birch)
    assert "0 contradictions, 0 remarks" in reconciled(ash, simulator.homes["elm"].ledger_path)


def test_existing_file_is_not_overwritten(simulator: Simulator) -> None:
    path = written(simulator, "ash")
    before = path.read_bytes()
    with pytest.raises(SiteConfigError, match="name another file"):
        written(simulator, "ash")
    assert path.read_bytes() == before


def test_testimony_holds_signed_headers_and_no_more(simulator: Simulator) -> None:
    kinds = [json.loads(line).get("kind") for line in written(simulator, "ash").read_text().splitlines()]
    assert kinds == ["site-testimony", "study", *["header"] * 3, None]


def test_every_changed_byte_and_every_cut_is_detected(simulator: Simulator) -> None:
    path = written(simulator, "ash")
    whole = path.read_bytes()
    for place in random.Random(1).sample(range(len(whole)), 400):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LedgerError):
            read_site_testimony(path)
    for length in random.Random(2).sample(range(len(whole)), 200):
        path.write_bytes(whole[:length])
        with pytest.raises(LedgerError):
            read_site_testimony(path)
    lines = whole.splitlines(keepends=True)
    for changed in ([*lines, lines[-1]], [*lines[:2], lines[3], lines[2], *lines[4:]], lines[1:]):
        path.write_bytes(b"".join(changed))
        with pytest.raises(LedgerError):
            read_site_testimony(path)


def test_witness_cannot_invent_a_header(simulator: Simulator) -> None:
    """It signs the file as it likes; a header in it is another site's signature, or the file is refused."""
    path, key = written(simulator, "ash"), simulator.homes["ash"].load_identity()
    honest = read_site_testimony(path)
    (study,) = honest.studies.values()
    seen = honest.headers[0]
    forged = seen.header.statement.model_copy(update={"patients": 7})
    invented = HeaderSeen(header=type(seen.header).sign(key, forged), trained=True)
    cases: list[tuple[list[SiteOpening | StudySeen | HeaderSeen], str]] = [
        ([honest.opening, study, invented], "is not signed by the key of the study's roster"),
        ([honest.opening, invented], "does not follow that study's roster"),
        ([honest.opening, honest.opening], "a testimony has one opening"),
        ([study], "to begin with its opening"),
    ]
    for items, words in cases:
        path.write_bytes(b"".join(format_site_testimony(items, key)))
        with pytest.raises(LedgerError, match=words):
            read_site_testimony(path)


def test_rosters_that_a_witness_made_up_do_not_fit_the_ledger(simulator: Simulator) -> None:
    """It names its own key as elm's, and signs headers with it: elm's ledger never knew that key."""
    path, key = written(simulator, "ash"), simulator.homes["ash"].load_identity()
    honest = read_site_testimony(path)
    (study,) = honest.studies.values()
    made_up = study.model_copy(update={"sites": {**study.sites, "elm": key.public.text}})
    path.write_bytes(b"".join(format_site_testimony([honest.opening, made_up], key)))
    result = CliRunner().invoke(cli, ["reconcile", str(path), str(simulator.homes["elm"].ledger_path)])
    assert "which never signed this ledger" in result.output


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 2**53 - 1, 1.5, "", "x" * 3000, "\x1b[2J", "0" * 64, [], {}, [None], {"a": {"b": []}},
)  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in inside:
        yield from places(inner, (*place, name))


def test_every_field_may_be_anything_under_right_signatures(simulator: Simulator) -> None:
    """Both the site and its witness are forgers: the auditor's program reads the file or names the line."""
    path = written(simulator, "ash")
    lines = [json.loads(line) for line in path.read_text().splitlines()][:-1]
    keys = {name: home.load_identity() for name, home in simulator.homes.items()}
    number, choice = 2, random.Random(4)
    name = lines[number]["header"]["statement"]["site"]
    everywhere = [(line, place) for line in range(len(lines)) for place in places(lines[line]) if place]
    for line, place in choice.sample(everywhere, 60):
        changed = copy.deepcopy(lines)
        target = changed[line]
        for part in place[:-1]:
            target = target[part]
        target[place[-1]] = choice.choice(ODD)
        header = changed[number].get("header")
        if isinstance(header, dict) and isinstance(header.get("statement"), dict):
            signature = keys[name].sign(make_prefix(HEADER) + to_canonical(header["statement"]))
            header["signature"] = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        data = b"".join(to_canonical(each) + b"\n" for each in changed)
        end = SiteTestimonyTrailer(count=len(changed), items=compute_sha256(data))
        path.write_bytes(data + Signed[SiteTestimonyTrailer].sign(keys["ash"], end).to_bytes() + b"\n")
        result = CliRunner().invoke(cli, ["reconcile", str(path), str(simulator.homes[name].ledger_path)])
        assert result.exception is None or isinstance(result.exception, SystemExit | Error), result.exc_info
        if isinstance(result.exception, LedgerError):
            assert "ash-seen.jsonl: line" in str(result.exception)
