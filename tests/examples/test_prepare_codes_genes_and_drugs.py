"""The scripts that make files of public data: what they write keeps the contract of the studies beside them."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from client.data.site_data import read_data
from privacy.study import Terms, read_terms

SOURCES = {
    "records/prepare_diabetes130_codes.py": "diabetes130",
    "records/prepare_diabetes130_events.py": "diabetes130",
    "tabular/prepare_radiograph_vectors.py": "chest/pneumoniamnist.npz",
    "genomics/prepare_histone.py": "histone",
    "genomics/prepare_stemcells.py": "multisite/stemcells.npz",
    "genomics/prepare_pancan.py": "tcga/pancan_types.npz",
    "genomics/prepare_sarcomas.py": "dgex",
    "genomics/prepare_dendritic_cells.py": "cnnc/mdc.npz",
    "drugs/prepare_davis.py": "dta",
    "drugs/prepare_kiba.py": "dta",
    "genomics/prepare_accessibility.py": "accessibility",
    "genomics/prepare_m6a.py": "m6a",
    "drugs/prepare_biosnap.py": "",
    "genomics/prepare_gene_pairs.py": "cnnc/mdc.npz",
    "genomics/prepare_yeast_promoters.py": "promoter/yeast_native.tsv.gz",
    "genomics/prepare_yeast_pairs.py": "promoter/yeast_native.tsv.gz",
    "genomics/prepare_methylation.py": "methylation",
    "drugs/prepare_oneil.py": "synergy",
    "drugs/prepare_mesh_smiles.py": "drug_class/mesh12_6955.csv.gz",
    "drugs/prepare_mesh_classes.py": "drug_class/mesh12_6955.csv.gz",
    "drugs/prepare_deepdr.py": "repurposing/deepdr.npz",
    "drugs/prepare_deepdtnet.py": "repurposing",
    "drugs/prepare_deepwalk_dti.py": "repurposing/deepdtnet.npz",
    "drugs/prepare_drug_combo.py": "gedfn/brca_er.npz",
    "genomics/prepare_rna_words.py": "m6a/liver.csv.gz",
}
STUDIES = {
    "records/prepare_diabetes130_codes.py": ("records/deep_patient.yaml", "records/dbn.yaml"),
    "records/prepare_diabetes130_events.py": ("records/care_events.yaml",),
    "tabular/prepare_radiograph_vectors.py": (
        "tabular/autoencoder.yaml",
        "tabular/variational_autoencoder.yaml",
        "tabular/rbm.yaml",
        "tabular/projected_mlp.yaml",
    ),
    "genomics/prepare_histone.py": ("genomics/deepchrome.yaml", "genomics/attentive_chrome.yaml"),
    "genomics/prepare_stemcells.py": ("genomics/adage.yaml", "genomics/expression_autoencoder.yaml"),
    "genomics/prepare_pancan.py": ("genomics/cancer_type.yaml",),
    "genomics/prepare_sarcomas.py": ("genomics/d_gex.yaml",),
    "genomics/prepare_dendritic_cells.py": ("genomics/late.yaml",),
    "drugs/prepare_davis.py": (),
    "drugs/prepare_kiba.py": ("drugs/deepdta.yaml", "drugs/gans_dta.yaml"),
    "genomics/prepare_accessibility.py": ("genomics/basset.yaml",),
    "genomics/prepare_m6a.py": ("genomics/gene2vec.yaml",),
    "drugs/prepare_biosnap.py": (
        "drugs/deepdtis.yaml",
        "drugs/deepcpi.yaml",
        "drugs/dti_cnn.yaml",
        "drugs/dti_lstm.yaml",
        "drugs/dti_sae.yaml",
        "drugs/dfcnn.yaml",
    ),
    "genomics/prepare_gene_pairs.py": ("genomics/cnnc.yaml",),
    "genomics/prepare_yeast_promoters.py": ("genomics/xpresso.yaml", "genomics/expecto.yaml"),
    "genomics/prepare_yeast_pairs.py": ("genomics/expression_contrast.yaml",),
    "genomics/prepare_methylation.py": ("genomics/deepcpg.yaml",),
    "drugs/prepare_oneil.py": ("drugs/deepsynergy.yaml",),
    "drugs/prepare_mesh_smiles.py": ("drugs/smiles_rnn.yaml",),
    "drugs/prepare_mesh_classes.py": ("drugs/drug_class_mlp.yaml", "drugs/seq2seq_fingerprint.yaml"),
    "drugs/prepare_deepdr.py": ("drugs/deepdr.yaml",),
    "drugs/prepare_deepdtnet.py": ("drugs/deepdtnet.yaml", "drugs/cascade_fusion.yaml"),
    "drugs/prepare_deepwalk_dti.py": ("drugs/deepwalk_dti.yaml",),
    "drugs/prepare_drug_combo.py": ("drugs/drug_combo.yaml",),
    "genomics/prepare_rna_words.py": ("genomics/deepnet_rbp.yaml",),
}


def find_source(repository: Path, script: str) -> Path:
    folder = repository.parent / "shared" / "data" / SOURCES[script]
    if not folder.exists():
        pytest.skip(f"shared/data/{SOURCES[script]} is not here")
    return folder


Prepare = Callable[[str], Path]


@pytest.fixture(scope="module")
def prepare(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Runs a script once, and returns the folder with what it wrote."""

    @cache
    def run(script: str) -> Path:
        source, target = find_source(repository, script), tmp_path_factory.mktemp("sites")
        program = [sys.executable, str(repository / "examples" / script), str(source), str(target)]
        subprocess.run(program, check=True, capture_output=True)
        return target

    return run


def read_study(repository: Path, study: str) -> Terms:
    return read_terms(repository / "examples" / study)


def load(folder: Path, name: str, array: str) -> list[np.ndarray]:
    """One array of every site."""
    found = []
    for site in sorted(folder.iterdir()):
        with np.load(site / name) as arrays:
            found.append(arrays[array])
    return found


@pytest.mark.parametrize("script", SOURCES)
def test_files_keep_the_contract_and_no_patient_is_in_two_of_them(
    script: str, repository: Path, prepare: Prepare
) -> None:
    folder = prepare(script)
    patients = load(folder, "train.npz", "patient") + load(folder, "test.npz", "patient")
    sites = sorted(path.name for path in folder.iterdir())
    assert len(patients) == 2 * len(sites)
    ids = [set(part.tolist()) for part in patients]
    assert sum(map(len, ids)) == len(set.union(*ids))
    for study in STUDIES[script]:
        terms = read_study(repository, study)
        files = [folder / site / name for name in ("train.npz", "test.npz") for site in sites]
        assert [read_data(terms.data, path).patients.patients for path in files] == [len(each) for each in ids]


def test_diabetes_visits_that_are_the_last_have_no_record(prepare: Prepare) -> None:
    folder = prepare("records/prepare_diabetes130_codes.py")
    patients = np.concatenate(load(folder, "train.npz", "patient") + load(folder, "test.npz", "patient"))
    label = np.concatenate(load(folder, "train.npz", "label") + load(folder, "test.npz", "label"))
    assert len(set(patients.tolist())) == 11_741
    assert len(patients) == 32_902 - 11_741
    assert label.mean() == pytest.approx(0.269, abs=0.001)


def test_diabetes_first_record_is_the_first_row_of_the_table(repository: Path, prepare: Prepare) -> None:
    """Patient 0: first visit 428, 401 and 250 after 5 days, female, 70 to 80; second visit 584, 404 and 585."""
    script = "records/prepare_diabetes130_codes.py"
    folder = prepare(script)
    prepared = runpy.run_path(str(repository / "examples" / script))
    names, diseases = prepared["list_features"](), list(prepared["DISEASES"])
    with np.load(folder / "site-1" / "test.npz") as arrays:
        assert arrays["patient"][0] == "patient-0"
        said = {name for name, value in zip(names, arrays["features"][0], strict=True) if value}
        following = {group for group, value in zip(diseases, arrays["diseases"][0], strict=True) if value}
    assert {name for name in said if name.startswith("diagnosis")} == {
        "diagnosis 42",
        "diagnosis 40",
        "diagnosis 25",
    }
    assert {"gender Female", "age [70-80)", "metformin given", "time_in_hospital >= 5"} <= said
    assert {"metformin changed", "time_in_hospital >= 8"}.isdisjoint(said)
    assert following == {"58", "40"}


def test_diabetes_events_are_the_visits_before_the_last_one(prepare: Prepare) -> None:
    """Patient 0 has two visits: the first one, without earlier diagnoses, is the event, the second one the label."""
    folder, codes = (
        prepare("records/prepare_diabetes130_events.py"),
        prepare("records/prepare_diabetes130_codes.py"),
    )
    with np.load(folder / "site-1" / "test.npz") as arrays, np.load(codes / "site-1" / "test.npz") as bags:
        assert arrays["patient"][0] == bags["patient"][0] == "patient-0"
        np.testing.assert_array_equal(arrays["values"][0, 0], bags["features"][0])
        assert arrays["present"][0].tolist() == [True] + [False] * 5
        assert not arrays["values"][0, 1:].any()
        assert arrays["label"][0] == bags["diseases"][0, 5]  # of group 42, the sixth
    patients = load(folder, "train.npz", "patient") + load(folder, "test.npz", "patient")
    assert sum(map(len, patients)) == 11_741


def test_radiograph_vectors_are_means_of_four_pixels(repository: Path, prepare: Prepare) -> None:
    folder = prepare("tabular/prepare_radiograph_vectors.py")
    with np.load(find_source(repository, "tabular/prepare_radiograph_vectors.py")) as arrays:
        image = arrays["train_images"][0].astype(float) / 255
    squares = [
        image[row : row + 2, column : column + 2].mean() for row in range(0, 28, 2) for column in range(0, 28, 2)
    ]
    np.testing.assert_allclose(load(folder, "train.npz", "features")[0][0], squares, rtol=1e-6)
    labels = np.concatenate(load(folder, "test.npz", "label"))
    assert (len(labels), int(labels.sum())) == (621, 387)  # of 624 and 390 that are published: three occur twice


def test_histone_signals_are_the_logarithms_of_the_reads(prepare: Prepare) -> None:
    folder = prepare("genomics/prepare_histone.py")
    genes, signals = load(folder, "train.npz", "patient"), load(folder, "train.npz", "signals")
    assert sum(map(len, genes)) == 400
    (found,) = [
        values[ids.tolist().index("ENSG00000130749")]
        for ids, values in zip(genes, signals, strict=True)
        if "ENSG00000130749" in ids
    ]
    # the first two bins of the file have 1, 1, 0, 1, 0 and 1, 0, 0, 1, 1 reads of the five marks
    np.testing.assert_allclose(found[:, 0], np.log1p([2, 1, 0, 2, 1]), rtol=1e-6)


def test_davis_pairs_are_those_of_the_table(repository: Path, prepare: Prepare) -> None:
    folder = prepare("drugs/prepare_davis.py")
    affinity = np.concatenate(load(folder, "train.npz", "affinity") + load(folder, "test.npz", "affinity"))
    assert len(affinity) == 68 * 442
    assert (affinity == 5).mean() == pytest.approx(0.696, abs=0.001)
    table = np.loadtxt(find_source(repository, "drugs/prepare_davis.py") / "davis_kd_nM.txt")
    first = load(folder, "test.npz", "affinity")[0][:442]  # the first compound is a test compound of site 1
    np.testing.assert_allclose(np.sort(first), np.sort(9 - np.log10(table[0])), rtol=1e-6)
    compounds, patients = load(folder, "train.npz", "compound")[0], load(folder, "train.npz", "patient")[0]
    assert len({row.tobytes() for row in compounds}) == len(set(patients.tolist()))


def test_kiba_pairs_are_those_of_the_table(repository: Path, prepare: Prepare) -> None:
    """Compound 0 is a test compound of site 1; its pairs are in the table with their scores."""
    folder = prepare("drugs/prepare_kiba.py")
    with np.load(find_source(repository, "drugs/prepare_kiba.py") / "kiba.npz") as table:
        first, scores = table["score"][table["drug"] == 0], table["score"]
    affinity = load(folder, "test.npz", "affinity")[0]
    np.testing.assert_allclose(np.sort(affinity[: len(first)]), np.sort(np.clip(first, 8.7, 14.7)), rtol=1e-6)
    every = np.concatenate(load(folder, "train.npz", "affinity") + load(folder, "test.npz", "affinity"))
    assert every.astype(float).sum() == pytest.approx(np.clip(scores, 8.7, 14.7).astype(float).sum(), rel=1e-6)
    assert ((scores < 8.7) | (scores > 14.7)).mean() == pytest.approx(1 / 120, rel=0.05)
    pairs = [proteins[:9] for proteins in load(folder, "train.npz", "protein")]
    assert all(
        len(np.unique(part, axis=0)) == 9 for part in pairs
    )  # a compound's pairs are with different proteins


def test_biosnap_pairs_are_those_of_the_table_and_describe_both_items(
    repository: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "drugs/prepare_biosnap.py"
    folder = prepare(script)
    label = np.concatenate(load(folder, "train.npz", "label") + load(folder, "test.npz", "label"))
    assert (len(label), int(label.sum())) == (8_245, 2_770 + 1_396)
    fingerprint, composition = (
        load(folder, "test.npz", "fingerprint")[0],
        load(folder, "test.npz", "composition")[0],
    )
    patient = load(folder, "test.npz", "patient")[0]
    for name in set(patient[:20].tolist()):
        assert len(np.unique(fingerprint[patient == name], axis=0)) == 1  # one drug, whatever the protein
    assert set(np.unique(fingerprint).tolist()) == {0, 1}
    assert 0 <= composition.min() < composition.max() <= 1
    np.testing.assert_allclose(composition[:, :20].sum(1), 5, rtol=0.1)  # five times the parts of a whole
    monkeypatch.syspath_prepend(str(repository / "examples" / "drugs"))  # it takes a part of prepare_kiba.py
    prepared = runpy.run_path(str(repository / "examples" / script))
    counts = prepared["count_words"]("MKXMK", 2)
    assert counts.sum() == 2  # the words with X are none
    assert counts[20 * 10 + 8] == 2  # M is the eleventh amino acid, K the ninth
    table = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]], dtype=np.float32)
    found = prepared["compute_coordinates"](table, table, 2)
    np.testing.assert_allclose((found**2).mean(0), 1, rtol=1e-4)


def test_neighbours_of_a_site_are_the_nearest_on_each_side(repository: Path) -> None:
    script = runpy.run_path(str(repository / "examples" / "genomics" / "prepare_methylation.py"))
    places, states = np.array([100, 200, 500, 900]), np.array([1, 0, 1, 1], np.float32)
    state, distance = script["find_neighbours"](500, places, states)
    assert state[:3].tolist() == [0, 1, 0.5]
    assert state[10:12].tolist() == [1, 0.5]
    np.testing.assert_allclose(distance[[0, 1, 2, 10, 11]], [0.03, 0.04, 1, 0.04, 1])
    assert (state != 0.5).sum() == 3  # the site itself is none


def test_promoters_that_share_a_stretch_are_one_group(repository: Path) -> None:
    script = runpy.run_path(str(repository / "examples" / "genomics" / "prepare_yeast_promoters.py"))
    random = np.random.default_rng(0)
    first, other, end = ("".join(random.choice(list("ACGT"), 40)) for _ in range(3))
    words = ["AC" + first + "GGT", "AC" + other + "GGT", "AC" + end[:19] + first[20:] + "T" + "GGT"]
    assert script["count_common_ends"](words) == (2, 3)
    assert script["group_promoters"](words) == [0, 1, 0]


def test_generated_pairs_keep_the_contract_and_touch_where_both_words_are(repository: Path, tmp_path: Path) -> None:
    program = [sys.executable, str(repository / "examples/genomics/prepare_enhancer_promoter.py"), str(tmp_path)]
    subprocess.run(program, check=True, capture_output=True)
    terms = read_study(repository, "genomics/speid.yaml")
    for path in sorted(tmp_path.glob("*/test.npz")):
        assert read_data(terms.data, path).patients.patients == 400
        with np.load(path) as arrays:
            words = zip(arrays["enhancer"], arrays["promoter"], arrays["label"], strict=True)
            for enhancer, promoter, label in words:
                texts = ["".join("ACGT"[place] for place in each.argmax(0)) for each in (enhancer, promoter)]
                assert label <= ("GATAAGCA" in texts[0] and "CCACGTGG" in texts[1])


def test_oneil_trials_are_those_of_the_table_and_a_pair_has_no_order(prepare: Prepare) -> None:
    folder = prepare("drugs/prepare_oneil.py")
    parts = {
        name: np.concatenate(load(folder, "train.npz", name) + load(folder, "test.npz", name))
        for name in ("first_drug", "second_drug", "cell", "synergy", "patient")
    }
    assert len(parts["synergy"]) == 18_950
    assert len(np.unique(parts["patient"])) == 583
    assert len(np.unique(parts["cell"], axis=0)) == 32
    both = np.concatenate([parts["first_drug"], parts["second_drug"]])
    assert len(np.unique(both, axis=0)) == 38  # every drug has substructures of its own
    assert np.abs(parts["synergy"]).max() == 100
    for pair in np.unique(parts["patient"])[:20]:
        drugs = {
            each.tobytes()
            for name in ("first_drug", "second_drug")
            for each in parts[name][parts["patient"] == pair]
        }
        assert len(drugs) == 2


def test_every_window_is_tested_in_one_of_five_deals(
    repository: Path, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "genomics/prepare_accessibility.py"
    first = np.concatenate(load(prepare(script), "test.npz", "patient"))
    source = find_source(repository, script)
    monkeypatch.syspath_prepend(repository / "examples" / "genomics")  # the script imports the one beside it
    deal = runpy.run_path(str(repository / "examples" / script))["prepare"]
    tested = [first]
    for fifth in range(1, 5):
        deal(source, tmp_path / f"{fifth}", fifth)
        tested.append(np.concatenate(load(tmp_path / f"{fifth}", "test.npz", "patient")))
        trained = np.concatenate(load(tmp_path / f"{fifth}", "train.npz", "patient"))
        assert not set(tested[-1]) & set(trained)
    names = np.concatenate(tested)
    assert len(names) == len(set(names)) == 10_000
