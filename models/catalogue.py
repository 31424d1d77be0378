"""The models that a study may name: a list, one file each.

Rules:

* only models of this list are built: a site runs installed code, and the terms choose from it;
* a model's file is read when it is named; what a file must hold is in ``models/entry.py``.

>>> check_options("mlp", {"hidden": [64, 32]})
MlpOptions(hidden=(64, 32), activation='elu', norm='none')
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from models.errors import ModelError

if TYPE_CHECKING:
    from models.entry import ModelEntry, Options

_FILES: Final[Mapping[str, str]] = {
    "logistic": "models.tabular.logistic",
    "mlp": "models.tabular.mlp",
    "projected-mlp": "models.tabular.projected_mlp",
    "autoencoder": "models.tabular.autoencoder",
    "variational-autoencoder": "models.tabular.variational_autoencoder",
    "rbm": "models.tabular.rbm",
    "chest-xray-cnn": "models.imaging.chest_xray_cnn",
    "pixeldp-cnn": "models.imaging.pixeldp_cnn",
    "ternausnet11": "models.imaging.ternausnet11",
    "ternausnet16": "models.imaging.ternausnet16",
    "linknet34": "models.imaging.linknet34",
    "unet": "models.imaging.unet",
    "unet-3d": "models.imaging.unet_3d",
    "md-gru": "models.imaging.md_gru",
    "lv-segmentation": "models.imaging.lv_segmentation",
    "lung-pattern-cnn": "models.imaging.lung_pattern_cnn",
    "image-table": "models.imaging.image_table",
    "deep-knee": "models.imaging.deep_knee",
    "capsnet": "models.imaging.capsnet",
    "histology-crops": "models.imaging.histology_crops",
    "lesion-sdae": "models.imaging.lesion_sdae",
    "retina-attention": "models.imaging.retina_attention",
    "dbn-ensemble": "models.imaging.dbn_ensemble",
    "image-report": "models.imaging.image_report",
    "gru-d": "models.records.gru_d",
    "doctor-ai": "models.records.doctor_ai",
    "med2vec": "models.records.med2vec",
    "retain": "models.records.retain",
    "dynamic-deephit": "models.longitudinal.dynamic_deephit",
    "disease-atlas": "models.longitudinal.disease_atlas",
    "modality-gru": "models.longitudinal.modality_gru",
    "recurrent": "models.longitudinal.recurrent",
    "care-events": "models.records.care_events",
    "deep-patient": "models.records.deep_patient",
    "dbn": "models.records.dbn",
    "deepr": "models.records.deepr",
    "patient2vec": "models.records.patient2vec",
    "deep-care": "models.records.deep_care",
    "code-embeddings": "models.records.code_embeddings",
    "phenotyping-cnn": "models.records.phenotyping_cnn",
    "event-ensemble": "models.records.event_ensemble",
    "deepchrome": "models.genomics.deepchrome",
    "attentive-chrome": "models.genomics.attentive_chrome",
    "adage": "models.genomics.adage",
    "gedfn": "models.genomics.gedfn",
    "cancer-type": "models.genomics.cancer_type",
    "d-gex": "models.genomics.d_gex",
    "expression-autoencoder": "models.genomics.expression_autoencoder",
    "late": "models.genomics.late",
    "basset": "models.genomics.basset",
    "gene2vec": "models.genomics.gene2vec",
    "splice-response": "models.genomics.splice_response",
    "jha-splicing": "models.genomics.jha_splicing",
    "tfimpute": "models.genomics.tfimpute",
    "cnnc": "models.genomics.cnnc",
    "xpresso": "models.genomics.xpresso",
    "deepcpg": "models.genomics.deepcpg",
    "speid": "models.genomics.speid",
    "expression-contrast": "models.genomics.expression_contrast",
    "deep-motif": "models.genomics.deep_motif",
    "expecto": "models.genomics.expecto",
    "deepnet-rbp": "models.genomics.deepnet_rbp",
    "deepdta": "models.drugs.deepdta",
    "deepdtis": "models.drugs.deepdtis",
    "smiles-rnn": "models.drugs.smiles_rnn",
    "drug-class-mlp": "models.drugs.drug_class_mlp",
    "deepdr": "models.drugs.deepdr",
    "deepdtnet": "models.drugs.deepdtnet",
    "seq2seq-fingerprint": "models.drugs.seq2seq_fingerprint",
    "cascade-fusion": "models.drugs.cascade_fusion",
    "deepcpi": "models.drugs.deepcpi",
    "deepsynergy": "models.drugs.deepsynergy",
    "dti-cnn": "models.drugs.dti_cnn",
    "dti-lstm": "models.drugs.dti_lstm",
    "dti-sae": "models.drugs.dti_sae",
    "dfcnn": "models.drugs.dfcnn",
    "deepwalk-dti": "models.drugs.deepwalk_dti",
    "gans-dta": "models.drugs.gans_dta",
    "drug-combo": "models.drugs.drug_combo",
}

NAMES: Final = tuple(_FILES)


def find_model(name: str) -> "ModelEntry":
    """Read the entry of the model ``name``.

    Raises:
        ModelError: there is no such model.
    """
    if name not in _FILES:
        raise ModelError(f"model.name: there is no model '{name}'; known models: {', '.join(NAMES)}")
    entry: ModelEntry = import_module(_FILES[name]).MODEL
    return entry


def check_options(name: str, options: Mapping[str, Any]) -> "Options":
    """Check the options of the model ``name``.

    Raises:
        ModelError: the model is unknown, or does not take these options; the message lists every mistake.
    """
    return find_model(name).check_options(name, options)
