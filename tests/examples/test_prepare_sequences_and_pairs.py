"""The scripts that keep public data at hospitals in several forms: each mapping leads to its site's own part."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from client.data.conversion.kept_snapshots import Snapshot, make_snapshot
from client.data.site_data import read_data
from models.fit import build_study_module
from privacy.study import Terms, read_terms

SOURCES = {
    "genomics/prepare_open_chromatin.py": ("accessibility", "genomics/open_chromatin.yaml"),
    "genomics/prepare_leukaemia.py": ("adapters/genomics", "genomics/leukaemia.yaml"),
    "drugs/prepare_davis_companies.py": ("dta", "drugs/deepdta_pairs.yaml"),
    "drugs/prepare_kiba_similarities.py": ("dta", "drugs/similarities.yaml"),
}
Prepare = Callable[[str], dict[str, Snapshot]]


def find_source(repository: Path, script: str) -> Path:
    folder = repository.parent / "shared" / "data" / SOURCES[script][0]
    if not folder.exists():
        pytest.skip(f"shared/data/{SOURCES[script][0]} is not here")
    return folder


def read_study(repository: Path, script: str) -> Terms:
    return read_terms(repository / "examples" / SOURCES[script][1])


@pytest.fixture(scope="module")
def prepare(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Runs a script once, converts what it wrote, and returns the snapshot of each site."""

    @cache
    def run(script: str) -> dict[str, Snapshot]:
        source, target = find_source(repository, script), tmp_path_factory.mktemp("sites")
        program = [sys.executable, str(repository / "examples" / script), str(source), str(target)]
        subprocess.run(program, check=True, capture_output=True)
        contract = read_study(repository, script).data
        return {
            site.name: make_snapshot(contract, site / "mapping.yaml", tmp_path_factory.mktemp("data"), 0.0)
            for site in sorted(target.iterdir())
        }

    return run


def load(snapshot: Snapshot, name: str) -> NDArray[np.generic]:
    """One array of a snapshot, training records first."""
    parts = [np.load(path)[name] for path in (snapshot.train, snapshot.test)]
    return np.concatenate(parts)


@pytest.mark.parametrize("script", SOURCES)
def test_converted_files_keep_the_contract_and_no_patient_is_in_two_of_them(
    script: str, repository: Path, prepare: Prepare
) -> None:
    if "leukaemia" in script:
        pytest.importorskip("h5py", reason="needs the extra genomics")
    contract, snapshots = read_study(repository, script).data, prepare(script)
    files = [path for each in snapshots.values() for path in (each.train, each.test)]
    ids = [set(np.load(path)[contract.patient].tolist()) for path in files]
    assert sum(map(len, ids)) == len(set.union(*ids))
    assert [read_data(contract, path).patients.patients for path in files] == [len(each) for each in ids]
    assert all(each.report.quarantined == () for each in snapshots.values())


def test_open_chromatin_windows_are_one_hot_letters_whatever_the_form(repository: Path, prepare: Prepare) -> None:
    script = "genomics/prepare_open_chromatin.py"
    snapshots, source = prepare(script), find_source(repository, script)
    text = gzip.decompress((source / "intervals.10k.fasta.gz").read_bytes()).decode()
    letters = {part.partition("\n")[0]: part.partition("\n")[2].replace("\n", "") for part in text.split(">")[1:]}
    assert sum(load(each, "label").sum() for each in snapshots.values()) == 554
    assert sum(len(load(each, "patient")) for each in snapshots.values()) == 10_000
    for each in snapshots.values():
        names, signals = load(each, "patient"), load(each, "signals")
        for place in range(0, len(names), 97):
            word = letters[names[place].decode()].upper()
            expected = np.array([[letter == base for letter in word] for base in "ACGT"])
            np.testing.assert_array_equal(signals[place], expected)


def test_leukaemia_arrays_are_pandas_numbers_whatever_the_form(repository: Path, prepare: Prepare) -> None:
    pytest.importorskip("h5py", reason="needs the extra genomics")
    script = "genomics/prepare_leukaemia.py"
    snapshots, source = prepare(script), find_source(repository, script)
    table = pd.read_csv(source / "leukemia_u95.gct.gz", sep="\t", skiprows=2, index_col=0)
    genes = list(read_study(repository, script).data.genes)  # type: ignore[union-attr]
    seen = set()
    for each in snapshots.values():
        for name, values, label in zip(
            load(each, "patient"), load(each, "features"), load(each, "label"), strict=True
        ):
            patient = name.decode()
            np.testing.assert_array_equal(values, table.loc[genes, patient].to_numpy(dtype=np.float32))
            assert label == patient.startswith("AML")
            seen.add(patient)
    assert seen == set(table.columns[1:])


def test_leukaemia_pcl_files_have_the_numbers_of_the_gct_file(repository: Path, tmp_path: Path) -> None:
    source = find_source(repository, "genomics/prepare_leukaemia.py")
    program = [sys.executable, str(repository / "examples/genomics/prepare_leukaemia.py"), str(source)]
    subprocess.run([*program, str(tmp_path / "sites"), "--pcl"], check=True, capture_output=True)
    study = read_terms(repository / "examples/genomics/leukaemia_signatures.yaml")
    table = pd.read_csv(source / "leukemia_u95.gct.gz", sep="\t", skiprows=2, index_col=0)
    genes = list(study.data.genes)  # type: ignore[union-attr]
    seen = 0
    for site in ("east", "north", "south"):
        each = make_snapshot(study.data, tmp_path / "sites" / site / "mapping.yaml", tmp_path / site, 0.0)
        for name, values in zip(load(each, "patient"), load(each, "features"), strict=True):
            np.testing.assert_array_equal(values, table.loc[genes, name.decode()].to_numpy(dtype=np.float32))
            seen += 1
    assert seen == 48


def test_tumours_and_their_graph_are_those_of_the_source(repository: Path, tmp_path: Path) -> None:
    """Both studies read the same sites: the small one 52 of the genes, the written one all of them."""
    source = repository.parent / "shared/data/gedfn/brca_er.npz"
    if not source.exists():
        pytest.skip("shared/data/gedfn is not here")
    script, folder = repository / "examples/genomics/prepare_gedfn.py", tmp_path / "sites"
    subprocess.run([sys.executable, str(script), str(source), str(folder)], check=True, capture_output=True)
    with np.load(source) as arrays:
        values, group = arrays["expression"], arrays["group"]
        genes, edges = [str(each) for each in arrays["entrez"]], arrays["ppi_edge"].tolist()
    for study in (read_terms(repository / "examples/genomics/gedfn.yaml"), read_terms(folder / "gedfn.yaml")):
        build_study_module(study)
        wanted: list[str] = list(study.data.genes)  # type: ignore[union-attr]
        chosen = [genes.index(gene) for gene in wanted]
        for number, site in enumerate(("north", "south", "east", "west")):
            each = make_snapshot(study.data, folder / site / "mapping.yaml", tmp_path / f"{study.name}-{site}", 0.0)
            own = np.concatenate([load(each, "features"), load(each, "label")[:, None]], axis=1)
            expected = np.column_stack([values[number::4][:, chosen], group[number::4] == 1])
            np.testing.assert_array_equal(own[np.lexsort(own.T)], expected[np.lexsort(expected.T)])
    graph: Any = study.model.options["graph"]
    joined = {frozenset((wanted[one], wanted[other])) for one, other in graph["edges"]}
    assert joined == {frozenset((genes[one], genes[other])) for one, other in edges}
    assert len(joined) == 386


def test_davis_pairs_are_those_of_prepare_davis_whatever_the_form(
    repository: Path, prepare: Prepare, tmp_path: Path
) -> None:
    script = "drugs/prepare_davis_companies.py"
    snapshots, source = prepare(script), find_source(repository, script)
    program = [sys.executable, str(repository / "examples/drugs/prepare_davis.py"), str(source), str(tmp_path)]
    subprocess.run(program, check=True, capture_output=True)
    for number, company in enumerate(("ash", "birch", "cedar"), 1):
        for part in ("train", "test"):
            found = np.load(getattr(snapshots[company], part))
            with np.load(tmp_path / f"site-{number}" / f"{part}.npz") as expected:
                for name in ("compound", "protein"):
                    np.testing.assert_array_equal(found[name], expected[name])
                np.testing.assert_allclose(found["affinity"], expected["affinity"], rtol=1e-6)
                assert [name.decode() for name in found["patient"]] == expected["patient"].tolist()


def test_similarities_of_three_forms_are_those_of_a_loop_over_bits(repository: Path, prepare: Prepare) -> None:
    chemistry = pytest.importorskip("rdkit.Chem", reason="needs the extra chemistry")
    fingerprints = pytest.importorskip("rdkit.Chem.rdFingerprintGenerator")
    script = "drugs/prepare_kiba_similarities.py"
    snapshots, source = prepare(script), find_source(repository, script)
    letters: dict[str, str] = json.loads(gzip.decompress((source / "kiba_ligands.json.gz").read_bytes()))
    kinases = list(json.loads(gzip.decompress((source / "kiba_proteins.json.gz").read_bytes())))
    inhibitors: dict[str, str] = json.loads((source / "davis_ligands.json").read_text())
    contract: Any = read_study(repository, script).data
    assert list(contract.inputs[0].columns) == list(inhibitors)
    with np.load(source / "kiba.npz") as arrays:
        table = pd.DataFrame({name: arrays[name] for name in ("drug", "target", "score")})
    table = table[table["target"] == kinases.index("P12931")].sort_values("drug")
    names = [list(letters)[drug] for drug in table["drug"]]
    strong = dict(zip(names, table["score"] >= 12.1, strict=True))
    generator = fingerprints.GetMorganGenerator(radius=2, fpSize=2048)

    def list_bits(smiles: str) -> set[int]:
        return set(generator.GetFingerprint(chemistry.MolFromSmiles(smiles)).GetOnBits())

    known = [list_bits(smiles) for smiles in inhibitors.values()]
    for number, company in enumerate(("ash", "birch", "cedar")):
        snapshot = snapshots[company]
        patients = [name.decode() for name in load(snapshot, "patient")]
        assert sorted(patients) == sorted(names[number::3])
        held_out = {name.decode() for name in np.load(snapshot.test)["patient"]}
        assert held_out == set(names[number::3][::4])
        assert load(snapshot, "label").astype(bool).tolist() == [strong[name] for name in patients]
        own = [list_bits(letters[name]) for name in patients]
        expected = np.array([[len(bits & other) / len(bits | other) for other in known] for bits in own])
        np.testing.assert_allclose(load(snapshot, "similarity").astype(np.float64), expected, atol=1e-6)
