"""A conversion runs in a process of its own, which cannot reach what it must not, and whose answers are doubted."""

import contextlib
import io
import socket
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from benchmarks.small_study import small_terms
from client.data.conversion.convert import convert_to
from client.data.conversion.kept_snapshots import make_snapshot
from client.data.conversion.reach import find_reach
from client.data.conversion.report import ConversionError
from client.data.conversion.table_mapping import TableMapping
from client.site.launcher import Confinement
from client.training import confinement
from client.training.confined_conversion import ConfinedConversion
from client.training.confinement import Found, InForce, confine
from privacy.document import parse
from privacy.errors import DataError, DataUnavailableError, SiteConfigError
from tests.client.data.adapters.imaging.dicom_files import draw, make_flat_lossless_jpeg, write
from tests.client.data.conversion.images.test_convert import make_contract
from tests.client.data.conversion.small_source import write_mapping, write_source

CONTRACT = small_terms().data
WORKS = {
    kind: confinement._try(confine([sys.executable, "-S", "-c", ""], Found(kind, "")))
    for kind in (InForce.BUBBLEWRAP, InForce.LANDLOCK, InForce.FILTER)
}
hides = pytest.mark.skipif(
    WORKS[InForce.BUBBLEWRAP] is not None and WORKS[InForce.LANDLOCK] is not None,
    reason=f"nothing hides files here: {WORKS}",
)


@dataclass(frozen=True)
class Only(ConfinedConversion):
    """A conversion on a machine that offers ``in_force`` and nothing better."""

    in_force: InForce = InForce.NONE

    def _choose(self, reach: Any) -> Found:
        return Found(self.in_force, "", filters_calls=self.in_force is not InForce.NONE)


@pytest.mark.parametrize("in_force", list(InForce))
def test_snapshot_of_a_confined_process_is_that_of_this_one(tmp_path: Path, in_force: InForce) -> None:
    if WORKS.get(in_force) is not None:
        pytest.skip(f"{in_force}: {WORKS[in_force]}")
    mapping = write_source(tmp_path / "source")
    shown = list[str]()
    made = make_snapshot(
        CONTRACT,
        mapping,
        tmp_path / "data",
        0.0,
        lambda what, *_: shown.append(what),
        convert=Only(in_force=in_force),
    )
    assert made.report == make_snapshot(CONTRACT, mapping, tmp_path / "plain", 0.0).report
    assert shown == ["export.csv"]


@hides
def test_formats_of_libraries_in_c_are_read_where_nothing_is_seen_but_what_the_mapping_names(
    tmp_path: Path,
) -> None:
    """A compressed DICOM file, whose decoder is a process of its own again."""
    contract, folder = make_contract(), tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        image = make_flat_lossless_jpeg()
        image.PatientID, image.StudyDescription = f"p{number}", "yes"
        write(folder / f"{number}.dcm", image)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "mapping: 1\ncontract: scans\nsource: {kind: dicom, folder: scans, tags: [PatientID, StudyDescription]}\n"
        "columns: {patient: PatientID, finding: StudyDescription}\n",
        encoding="utf-8",
    )
    made = make_snapshot(contract, mapping, tmp_path / "data", 0.0, convert=ConfinedConversion())
    assert made.report == make_snapshot(contract, mapping, tmp_path / "plain", 0.0).report
    assert made.report.training + made.report.test == 4


@hides
def test_links_of_a_folder_are_followed_and_one_to_the_sites_own_is_not(tmp_path: Path) -> None:
    """An archive is often a link; a link to the keys is none that a hospital needs."""
    home, source = tmp_path / "site", tmp_path / "source"
    for place in (home, source, tmp_path / "archive", tmp_path / "elsewhere"):
        place.mkdir()
    (tmp_path / "elsewhere" / "p1.png").write_bytes(make_picture())
    (tmp_path / "archive" / "p1_yes.png").symlink_to(tmp_path / "elsewhere" / "p1.png")
    (home / "p2_yes.png").write_bytes(make_picture())
    (source / "scans").symlink_to(tmp_path / "archive")
    (tmp_path / "archive" / "p2_yes.png").symlink_to(home / "p2_yes.png")
    mapping = source / "mapping.yaml"
    mapping.write_text(
        'mapping: 1\ncontract: scans\nsource: {kind: files, pattern: "scans/{patient}_{finding}.png"}\n'
        "columns: {patient: patient, finding: finding}\n"
    )
    made = make_snapshot(
        make_contract(), mapping, tmp_path / "data", 0.5, convert=ConfinedConversion(site_folder=home)
    )
    assert made.report.training + made.report.test == 1
    assert [(each.count, each.places[0].row) for each in made.report.quarantined] == [(1, 2)]


def make_picture() -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(draw((4, 4), "uint8", 0, 255)).save(out, "PNG")
    return out.getvalue()


def attack(tmp_path: Path, program: str, **more: Any) -> Any:
    """Convert with ``program`` in the child's place; it has ``site``, the socket, and ``order``, what it is told."""
    begin = """
        import json, os, socket, sys
        site = socket.socket(fileno=int(sys.argv[1]))
        def receive():
            length = int.from_bytes(site.recv(8), "little")
            data = b""
            while len(data) < length:
                data += site.recv(length - len(data))
            return json.loads(data)
        def answer(said):
            data = json.dumps({"said": said}, separators=(",", ":"), sort_keys=True).encode()
            site.sendall(len(data).to_bytes(8, "little") + data)
        def attempt(name, action):
            try:
                action()
            except OSError:
                return
            answer({"kind": "failed", "error": "DataError", "sentence": name})
            sys.exit()
        order = receive()
    """
    text = textwrap.dedent(begin) + textwrap.dedent(program)
    convert = ConfinedConversion(program=(sys.executable, "-c", text), **more)
    return convert(CONTRACT, write_source(tmp_path / "source"), make_folder(tmp_path), 0.0)


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir(mode=0o700)
    return folder


@hides
def test_keys_network_other_files_and_the_sources_themselves_are_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = tmp_path / "site", tmp_path / "other.csv"
    home.mkdir()
    (home / "identity.key").write_text("secret")
    other.write_text("patients of another export")
    monkeypatch.setenv("AGENTS_PASSWORD", "secret")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        program = f"""
            source = os.path.dirname(order["mapping"])
            attempt("key", lambda: open({str(home / "identity.key")!r}))
            attempt("other file", lambda: open({str(other)!r}))
            attempt("network", lambda: socket.create_connection({server.getsockname()!r}, 2))
            attempt("source written", lambda: open(source + "/export.csv", "a"))
            try:
                open(source + "/new.csv", "w")  # in bubblewrap's own /tmp, perhaps
            except OSError:
                pass
            open(order["folder"] + "/train.npz", "w")
            os.unlink(order["folder"] + "/train.npz")
            found = "password" if "AGENTS_PASSWORD" in os.environ else "nothing"
            answer({{"kind": "failed", "error": "DataError", "sentence": found + " was reached"}})
        """
        with pytest.raises(DataError, match=r"^nothing was reached$"):
            attack(tmp_path, program, site_folder=home)
    assert not (tmp_path / "source" / "new.csv").exists()


@hides
def test_folder_of_the_site_within_a_folder_of_sources_is_hidden(tmp_path: Path) -> None:
    """The folder of images holds the site's own: a mapping may name it, its process sees no key."""
    home = tmp_path / "source" / "site"
    home.mkdir(parents=True)
    (home / "identity.key").write_text("secret")
    found = confinement.choose_confinement(Confinement.AVAILABLE)
    if found.in_force is InForce.LANDLOCK:
        pytest.skip("Landlock refuses it, which the message of confine says")
    command = confine(["/usr/bin/env", "cat", str(home / "identity.key")], found, [tmp_path / "source"], home)
    ended = subprocess.run(command, capture_output=True, env=confinement.make_environment(), cwd="/", check=False)
    assert ended.returncode != 0
    assert b"secret" not in ended.stdout


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import ctypes; ctypes.string_at(0)", "ended by signal 11|exit code 139"),
        ("sys.exit(3)", "ended with exit code 3"),
        ("site.sendall(b'\\xff' * 8)", "a file is damaged, or made to do harm"),
        ("site.sendall((5).to_bytes(8, 'little') + b'hello')", "a file is damaged, or made to do harm"),
        ("answer({'kind': 'failed', 'error': 'SystemExit', 'sentence': 'x'})", "a file is damaged, or made to do"),
        ("answer({'kind': 'defect', 'error': 'KeyError'})", r"a defect of this program \(KeyError\)"),
        ("answer({'kind': 'told', 'what': 'scan.h5', 'done': 1, 'total': None}); sys.exit(1)", "at 'scan.h5'"),
    ],
)
def test_process_that_crashes_or_talks_nonsense_gives_one_sentence(
    tmp_path: Path, program: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence) as error:
        attack(tmp_path, program)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "left",
    [
        "os.symlink('/etc/hostname', order['folder'] + '/train.npz')",
        "os.symlink('/etc', order['folder'] + '/scratch')",
        "open(order['folder'] + '/run-me.sh', 'w')",
    ],
)
def test_links_and_other_files_that_the_process_leaves_are_refused(tmp_path: Path, left: str) -> None:
    with pytest.raises(DataError, match="is no file of a snapshot"):
        attack(tmp_path, f"{left}\nanswer({{'kind': 'ended', 'usable': True}})")


def test_report_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteConfigError, match=r"snapshot\.json"):
        attack(
            tmp_path,
            """
            open(order["folder"] + "/snapshot.json", "w").write("{}")
            answer({"kind": "ended", "usable": True})
            """,
        )


def test_failures_of_a_conversion_are_those_of_this_process(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    (tmp_path / "source" / "export.csv").write_text("id,nothing\n1,2\n")
    with pytest.raises(ConversionError) as plain:
        convert_to(CONTRACT, mapping, make_folder(tmp_path), 0.0)
    (tmp_path / "again").mkdir()
    with pytest.raises(ConversionError) as confined:
        ConfinedConversion()(CONTRACT, mapping, tmp_path / "again", 0.0)
    assert (str(confined.value), confined.value.report) == (str(plain.value), plain.value.report)
    (tmp_path / "source" / "export.csv").unlink()
    (tmp_path / "third").mkdir()
    with pytest.raises(DataUnavailableError, match=r"export\.csv: cannot be read"):
        ConfinedConversion()(CONTRACT, mapping, tmp_path / "third", 0.0)


def test_relative_paths_stay_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path / "source")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    made = make_snapshot(
        CONTRACT, Path("../source/mapping.yaml"), tmp_path / "data", 0.0, convert=ConfinedConversion()
    )
    assert made.report.training + made.report.test == 300


def test_paths_passwords_and_servers_are_found_wherever_a_mapping_names_them(tmp_path: Path) -> None:
    mapping = {
        "mapping": 1,
        "contract": "ward",
        "split": {"by": "patients", "test": "held-out.txt"},
        "source": {
            "kind": "sql",
            "url": "postgresql://reader@/clinic?host=/run/postgresql&sslrootcert=/etc/root.crt",
            "password_env": "CLINIC_PASSWORD",
            "table": "visits",
        },
        "columns": {"patient": "id"},
    }
    reach = find_reach(parse(mapping, TableMapping, SiteConfigError, "mapping"), tmp_path / "mapping.yaml")
    assert {str(path.relative_to(tmp_path)) for path in reach.paths if path.is_relative_to(tmp_path)} == {
        "mapping.yaml", "held-out.txt",
    }  # fmt: skip
    assert {Path("/run/postgresql"), Path("/etc/root.crt")} <= set(reach.paths)
    assert (reach.passwords, reach.has_server) == (("CLINIC_PASSWORD",), True)
    mapping["source"] = {"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "visits"}
    reach = find_reach(parse(mapping, TableMapping, SiteConfigError, "mapping"), tmp_path / "mapping.yaml")
    assert tmp_path / "clinic.sqlite-wal" in reach.paths
    assert not reach.has_server


def test_source_that_fills_the_memory_is_named_in_a_sentence(tmp_path: Path) -> None:
    mapping = write_source(tmp_path / "source")
    header = (tmp_path / "source" / "export.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    with contextlib.closing(sqlite3.connect(tmp_path / "source" / "clinic.sqlite")) as database:
        database.execute("CREATE TABLE visits (" + ", ".join(f'"{name}" TEXT' for name in header) + ")")
        database.execute("INSERT INTO visits VALUES (" + ", ".join("1" * len(header)) + ")")  # noqa: S608 - ours
        database.commit()
    columns = ", ".join(f'"{name}"' for name in header[1:])
    query = f"SELECT printf('%.*c', 900000000, 'a') AS \"{header[0]}\", {columns} FROM visits"  # noqa: S608 - ours
    write_mapping(tmp_path / "source", source={"kind": "sql", "url": "sqlite:///clinic.sqlite", "query": query})
    with pytest.raises(
        DataError, match=r"needs more than 500 MiB of memory to be read: it is damaged, or too large"
    ):
        ConfinedConversion(most_memory=500 << 20)(CONTRACT, mapping, make_folder(tmp_path), 0.0)
