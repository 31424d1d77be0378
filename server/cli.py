"""``consilium``: the command of whoever coordinates studies.

Every command works on one federation's folder: ``--dir``, or the environment variable ``CONSILIUM_DIR``, or here.
``study`` commands talk to the coordinator's process (``consilium up``) on this host.
"""

import logging
import signal
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from privacy.console import print_json, print_table, run, say
from privacy.durable import replace
from privacy.enrolment import SignedJoinRequest, read_enrolment
from privacy.errors import FederationError, StoppedError
from privacy.study import read_terms
from server.federation import CoordinatorConfig, Federation

if TYPE_CHECKING:
    from server.control import ControlClient


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--dir",
    "folder",
    envvar="CONSILIUM_DIR",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The federation's folder (environment: CONSILIUM_DIR).",
)
@click.pass_context
def cli(context: click.Context, folder: Path) -> None:
    """Coordinate studies over hospitals' data, without ever seeing a record or a lone update."""
    context.obj = Federation(folder)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The federation's name: lower-case letters, digits, hyphens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where sites reach this coordinator.")
@click.option("--port", default=9092, show_default=True, help="And at which port.")
def init(folder: Path, name: str, host: str, port: int) -> None:
    """Make a federation in DIR: its identity, its certificate authority, its configuration."""
    from privacy.document import parse

    config = parse(
        {"federation": name, "host": host, "port": port}, CoordinatorConfig, FederationError, "federation"
    )
    federation = Federation.init(folder, config)
    say(f"made the federation '{name}' in {folder}; its identity key, to be compared with sites' people:")
    click.echo(federation.identity().public.text)


@cli.command()
@click.pass_obj
def up(federation: Federation) -> None:
    """Run the coordinator until stopped (Ctrl-C or SIGTERM); studies go on where they were."""
    from server.coordinator import Coordinator

    config = federation.config
    _log_to(federation)
    stop = threading.Event()

    def leave(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    say(f"coordinating '{config.federation}' at {config.host}:{config.port}")
    Coordinator(federation).serve(stop)
    say("stopped; studies go on with the next 'consilium up'")


@cli.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sites(context: click.Context, as_json: bool) -> None:
    """The enrolled sites, their identity keys, and who is online."""
    if context.invoked_subcommand is not None:
        return
    found = _control(context.obj).call("sites")
    if as_json:
        print_json(found)
        return
    rows = [(site["name"], "online" if site["online"] else "-", site["identity"]) for site in found["sites"]]
    print_table(("site", "", "identity key"), rows)


@sites.command("admit")
@click.argument("request", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Write the admission to this file.")
@click.pass_obj
def sites_admit(federation: Federation, request: Path, out: Path) -> None:
    """Enrol the site that made REQUEST; write the admission that goes back to it."""
    signed = read_enrolment(request, SignedJoinRequest, FederationError)
    admission = federation.enrol(signed)
    try:
        out.write_bytes(admission.to_bytes() + b"\n")
    except OSError as error:
        raise FederationError(f"{out}: cannot be written: {error.strerror}") from None
    say(f"enrolled '{admission.statement.name}'; hand {out} back to it. Its identity key:")
    click.echo(admission.statement.identity)


@sites.command("forget")
@click.argument("name")
@click.pass_obj
def sites_forget(federation: Federation, name: str) -> None:
    """Enrol the site NAME no more, so that it can come back with a new key. Its studies keep its old one."""
    federation.forget(name)
    say(f"'{name}' is no longer enrolled; admit its new request with: consilium sites admit REQUEST --out FILE")


@cli.group()
def study() -> None:
    """Studies: check, launch, watch."""


@study.command("check")
@click.argument("file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), help="Check the public weights that STUDY.yaml names.")
@click.option("--runs", type=click.IntRange(1, 10_000), help="And what so many runs cost together, to choose one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def study_check(file: Path, weights: Path | None, runs: int | None, as_json: bool) -> None:
    """Explain what STUDY.yaml would cost and move; nothing is launched."""
    from server.explain import explain, require_weights

    terms = read_terms(file)
    found = explain(terms, runs)
    if weights is not None:
        require_weights(terms, weights)
    if as_json:
        print_json(found)
        return
    privacy = found["privacy"]
    if privacy["private"]:
        promise = [
            ("privacy", f"epsilon {privacy['epsilon']:g}, delta {privacy['delta']:g}, for each patient"),
            *_unit_rows(privacy["unit"]),
            ("noise", f"{privacy['noise_multiplier']:.3f} times the clipping norm, {privacy['steps']} steps"),
            *_noise_rows(privacy["shares"]),
            ("first round", f"epsilon {privacy['epsilon_after_first_round']:.3f} of it"),
            ("sites", f"with at most {privacy['smallest_population']} patients each (1 / delta)"),
            ("test patients", "protected" if privacy["test_patients_protected"] else "NOT protected"),
            *_runs_rows(privacy["runs"]),
        ]
    else:
        promise = [("privacy", "NONE: the model may reveal its patients; a site must allow that")]
    moved = (
        f"{found['bytes_up']:,} bytes up, {found['bytes_down']:,} down "
        f"({found['ciphertexts']} ciphertexts; float32 would take {found['float32_bytes']:,})"
    )
    if not found["sealed"]:
        moved += "; NOT SEALED: the coordinator can read every site's update"
    elif found["values_per_slot"] == 1:
        moved += "; one value a slot, for so many bits and sites: at most 32 sites at 16 bits halve the bytes"
    rows = [
        ("study", f"{found['study']}, SHA-256 {found['digest'][:16]}..."),
        ("model", f"{found['parameters']:,} parameters, {found['inputs']} inputs"),
        *_layer_rows(found, weights),
        ("rounds", f"{found['rounds']}, in {found['exchanges']} exchanges"),
        ("site and round", moved),
        *promise,
    ]
    print_table(("", ""), rows, () if privacy["private"] else {len(rows) - 1})


def _layer_rows(found: dict[str, Any], weights: Path | None) -> list[tuple[str, str]]:
    """What of the model is not trained together, and where it begins; nothing for a model that is trained whole."""
    rows = []
    if found["personal"]:
        rows.append(("", f"and {found['personal']:,} personal ones, which each site trains for itself"))
    if found["frozen"]:
        rows.append(("", f"and {found['frozen']:,} frozen ones, which are neither sent nor noised"))
    if found["start"] is not None:
        judged = "checked, fits" if weights is not None else "every site must have it; check it with --weights FILE"
        rows.append(("public weights", f"SHA-256 {found['start'][:16]}...: {judged}"))
    return rows


def _runs_rows(together: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What a best of several runs costs; nothing where nobody asked."""
    if together is None:
        return []
    test = together["evaluation"]
    held_out = "" if test is None else f", {test:.3f} for each test patient"
    runs = together["runs"]
    return [
        (f"{runs} runs", f"together epsilon {together['training']:.3f} for each training patient{held_out}"),
        ("", f"the best of {runs} costs as much; each site's book charges every launch"),
    ]


def _unit_rows(unit: str) -> list[tuple[str, str]]:
    """What is clipped, where that is not a patient."""
    clipped = {"record": "each record for itself", "site": "the whole update of each site"}
    return [("", f"clipped is {clipped[unit]}")] if unit in clipped else []


def _noise_rows(shares: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What distributed noise means; nothing with local noise."""
    if shares is None:
        return []
    rounding = f"{shares['inflation'] - 1:.1%} more noise for rounding"
    if shares["inflation"] > 1.02:
        rounding += f"; with sealing.bits {shares['proposed_bits']} less"
    return [
        ("placement", f"distributed: holds against {shares['colluders']} colluding sites"),
        ("", f"whoever takes no part faces epsilon {shares['epsilon_outside']:.3f} (largest cohort)"),
        ("", f"{rounding}; a share has {shares['share_units']:.0f} grid units"),
        *_site_rows(shares["sites"]),
        *([("PROBLEM", shares["problem"])] if shares["problem"] else []),
    ]


def _site_rows(sites: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What noise over whole updates means; nothing where patients or records are clipped."""
    if sites is None:
        return []
    useless = "; MOSTLY NOISE: more sites or fewer parameters would help" if sites["noise_to_signal"] > 1 else ""
    return [
        ("whole sites", f"epsilon {sites['epsilon_of_site']:.3f} for each site, all its patients together"),
        ("", f"each counts in a round with chance {sites['participation']:g}"),
        (
            "mean update",
            f"noise of {sites['noise_of_mean']:.3g} clipping norms a coordinate (largest cohort): in a round "
            f"{sites['noise_to_signal_of_round']:.3g} times the longest update",
        ),
        ("", f"over all rounds {sites['noise_to_signal']:.3g} times the longest way they can lead{useless}"),
    ]


@study.command("launch")
@click.argument("file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--site", "names", multiple=True, help="Invite this site; repeat. Without it: all enrolled sites.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def study_launch(federation: Federation, file: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Sign STUDY.yaml and invite sites; they admit or refuse it."""
    from server.explain import count_parameters

    terms = read_terms(file)
    launched = _control(federation).call(
        "launch", terms=terms.model_dump(mode="json"), parameters=count_parameters(terms), sites=list(names)
    )
    if as_json:
        print_json(launched)
    else:
        click.echo(launched["study"])


@study.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def study_list(federation: Federation, as_json: bool) -> None:
    """Every study of this federation."""
    found = _control(federation).call("studies")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["study"], each["standing"], f"{each['committed']} of {each['rounds']}", each["why"])
        for each in found["studies"]
    ]
    print_table(("study", "", "rounds", ""), rows)


@study.command("watch")
@click.argument("name", metavar="STUDY")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@click.pass_obj
def study_watch(federation: Federation, name: str, as_json: bool) -> None:
    """Follow STUDY until it is finished or stopped."""
    from server.progress import Progress

    with Progress(quiet=as_json) as progress:
        for note in _control(federation).stream("watch", study=name, after=0):
            if as_json and note["kind"] != "beat":
                print_json(note)
            progress.take(note)
            if note["kind"] == "end" and note["standing"] == "stopped":
                raise StoppedError(f"the study '{name}' stands still: {note['why']}")


@study.command("stop")
@click.argument("name", metavar="STUDY")
@click.pass_obj
def study_stop(federation: Federation, name: str) -> None:
    """Let STUDY stand still; nothing is lost."""
    _control(federation).call("stop", study=name)
    say(f"'{name}' stops after what is in hand; go on with: consilium study resume {name}")


@study.command("resume")
@click.argument("name", metavar="STUDY")
@click.option("--readmit", multiple=True, metavar="SITE", help="Let a site that is out take part again; repeat.")
@click.pass_obj
def study_resume(federation: Federation, name: str, readmit: tuple[str, ...]) -> None:
    """Go on with a STUDY that stands still."""
    _control(federation).call("resume", study=name, readmit=list(readmit))
    say(f"'{name}' goes on")


@cli.group()
def testimony() -> None:
    """What this coordinator has seen of its sites' ledgers, for auditors and for a site that lost its own."""


@testimony.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def testimony_export(federation: Federation, file: Path) -> None:
    """Write every round and every countersigned head to FILE, signed; see 'consilium-audit reconcile'."""
    from server.testimony import write_testimony

    write_testimony(federation, file)
    say(f"wrote {file}; check it with: consilium-audit reconcile {file} LEDGER...")


@testimony.command("head")
@click.argument("site")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def testimony_head(federation: Federation, site: str, file: Path) -> None:
    """Write the newest countersigned head of SITE's ledger to FILE, with which SITE recovers from a backup."""
    newest = federation.witness().newest(site)
    if newest is None:
        known = ", ".join(sorted(federation.sites())) or "none"
        raise FederationError(f"no head of a ledger of '{site}' was seen; enrolled sites: {known}")
    replace(file, newest.to_bytes() + b"\n", FederationError)
    say(
        f"wrote {file}, entry {newest.head.statement.number}; the site runs: consilium-site ledger recover {file.name}"
    )


@cli.command()
@click.option("--data", type=click.Choice(["breast-cancer", "heart"]), default="breast-cancer", show_default=True)
@click.option("--path", type=click.Path(path_type=Path), help="With heart: the folder of the four UCI files.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Make the federation here, not in /tmp.")
@click.option("--keep", is_flag=True, help="Leave the folder for inspection.")
@click.option("--epsilon", default="3", show_default=True, help="The study's epsilon, or 'none': no privacy.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Instead of the study's own number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(
    data: str, path: Path | None, folder: Path | None, keep: bool, epsilon: str, rounds: int | None, as_json: bool
) -> None:
    """Four hospitals on this machine train one model together, for real."""
    from server.demo import Demo, DemoChoice

    choice = DemoChoice(data=data, path=path, folder=folder, keep=keep, epsilon=epsilon, rounds=rounds)
    result: dict[str, Any] = Demo(choice, quiet=as_json).run()
    if as_json:
        print_json(result)


def main() -> None:
    """The console script."""
    run(cli, "consilium")


def _control(federation: Federation) -> "ControlClient":
    from server.control import ControlClient

    return ControlClient(federation.folder)


def _log_to(federation: Federation) -> None:
    handler = RotatingFileHandler(federation.folder / "coordinator.log", maxBytes=10_000_000, backupCount=5)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
