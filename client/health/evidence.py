"""Collect a site's evidence for a security officer: what is installed, allowed, trusted and in force, signed.

Rules:

* an allow list: each fact is one that is known to be public or the installation's own. Nothing is computed from a
  record, and no path of a data file goes in;
* what looks like a key, a token or a password in a sentence of the check is replaced, and the whole pack is searched
  for the site's own secrets before it is returned;
* nothing of the site is changed, and a red check keeps no evidence from being written: it is in it. Without a usable
  identity key, policy or ledger there is none.
"""

import platform

from client.health.shown import leave_out_paths, list_secret_files
from client.health.site import examine_site
from client.site.config import SiteConfig
from client.site.folder import SiteFolder
from client.site.hooks import EventKind
from client.site.peers import Peers
from client.site.running import format_now
from client.training.launchers.choose import describe_launcher
from privacy.canonical import compute_sha256
from privacy.errors import KeyFileError, SiteConfigError
from privacy.keys import PublicKey
from privacy.ledger.evidence import (
    CheckResult,
    ConsortiumPin,
    CoordinatorFacts,
    Evidence,
    EvidencePack,
    LauncherFacts,
    Pins,
)
from privacy.program import read_program
from privacy.sbom import make_sbom
from privacy.secret_search import require_no_secret
from privacy.sentence import fit_sentence
from privacy.support_file import remove_secrets


def collect_evidence(home: SiteFolder) -> EvidencePack:
    """Collect and sign the evidence of a site.

    Run by a site.

    Raises:
        SiteConfigError: configuration, policy or peers cannot be read; or the pack would hold a secret.
        KeyFileError: the identity key cannot be used.
        LedgerError, StorageError: the ledger does not verify, or cannot be read now.
    """
    config, identity = home.config, home.load_identity()
    health = leave_out_paths(examine_site(home))
    with home.open_ledger() as ledger:
        head, witnessed = ledger.sign_head(), ledger.read_state().witnessed
    program = read_program()
    sbom = make_sbom(program)
    evidence = Evidence(
        site=config.name,
        key=identity.public.text,
        time=format_now(),
        program=program,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        sbom=sbom.digest,
        policy=home.policy.model_dump(mode="json"),
        launcher=_describe_launcher(config),
        hooks=tuple(sorted(kind for kind in EventKind if getattr(config.hooks, kind) is not None)),
        proxy=config.proxy is not None,
        metrics=config.metrics_port is not None,
        pins=_list_pins(home.load_peers()),
        coordinator=_describe_coordinator(home),
        checks=tuple(
            CheckResult(check=line.check, light=line.light, found=fit_sentence(remove_secrets(line.found)))
            for line in health.lines
        ),
        ledger=head,
        witnessed=None if witnessed is None else witnessed.number,
    )
    pack = EvidencePack.sign(identity, evidence, sbom)
    require_no_secret(
        list_secret_files(home, config), {"the evidence": pack.to_bytes().decode("utf-8")}, SiteConfigError
    )
    return pack


def _describe_launcher(config: SiteConfig) -> LauncherFacts:
    try:
        in_force = describe_launcher(config.launcher)
    except SiteConfigError as error:
        in_force = f"nothing is trained: {error}"
    return LauncherFacts(
        kind=config.launcher.kind,
        asked=getattr(config.launcher, "confinement", None),
        in_force=fit_sentence(remove_secrets(in_force)),
    )


def _list_pins(peers: Peers) -> Pins:
    trusted = peers.consortium
    newest = None if trusted is None or trusted.newest is None else trusted.newest.statement
    return Pins(
        peers={name: key.typed for name, key in peers.pinned.items()},
        consortium=None
        if trusted is None
        else ConsortiumPin(
            name=trusted.name,
            key=trusted.key.typed,
            list_number=None if newest is None else newest.number,
            list_ends=None if newest is None else newest.valid_until,
            revoked=len(trusted.revoked),
        ),
    )


def _describe_coordinator(home: SiteFolder) -> CoordinatorFacts | None:
    if not (home.folder / "admission.json").exists():
        return None
    admission = home.load_admission()
    return CoordinatorFacts(
        federation=admission.federation,
        address=admission.address,
        key=PublicKey.from_text(admission.coordinator).typed,
        authority=compute_sha256(admission.ca_certificate.encode("ascii")),
        certificate_ends=_read_certificate_end(home),
    )


def _read_certificate_end(home: SiteFolder) -> str | None:
    try:
        return f"{home.credentials.load().ends:%Y-%m-%dT%H:%M:%SZ}"
    except KeyFileError:
        return None  # the line of the own certificate is red
