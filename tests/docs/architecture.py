"""The lists of files in ``docs/architecture.md``: ``python -m tests.docs.architecture`` writes them anew.

A line is the first sentence of a file's own docstring. The order, which is that in which things happen, is here.
"""

import ast
import textwrap
from pathlib import Path
from typing import Final

from tests.docs.pages import ROOT

PAGE: Final = ROOT / "docs" / "architecture.md"
PACKAGES: Final = ("privacy", "models", "client", "server")

ROOMS: Final = {
    "client": "cli",
    "client/commands": "join key peer consortium policy data data_sources data_show mapped_data objections approve "
    "decision_table release budget study_table weights ledger status check evidence doctor backup "
    "withdraw predict explain report export release_data simulate audit_run train_alone confirm init up",
    "client/health": "evidence machine network records shown site sources",
    "client/connection": "service agent link message_listener node_memory renewal ledger_verification daily_look "
    "tls_trust client_app blob_exchange transfers metrics",
    "client/site": "folder config policy policy_file launcher proxy hooks peers consortium_folder registry "
    "register_data public_weights running key_rotation",
    "client/data": "dataset site_data contents table encoding label_encoding letter_encoding interval_sets "
    "named_arrays scaling lazy_array "
    "identifiers examples inspection mistakes plausibility patient_register objections",
    "client/data/adapters": "rows csv delimited hashed_file excel excel_97 parquet sql arrays lines fasta bed "
    "expression similarity_matrix scratch_matrix classes hdf5_file hdf5_matrix molecules fhir code_maps",
    "client/data/adapters/imaging": "image image_file pictures dicom dicom_file dicom_pixels "
    "decoder_process decoder_worker dicom_volume nifti",
    "client/data/conversion": "kept_snapshots convert reach mapping converters batch findings report snapshot "
    "sources numbers dates units table_mapping mapped_columns table record_words joined_table label_words "
    "sequences_mapping sequences expression_mapping expression pairs_mapping pairs similarity_rows",
    "client/data/showing": "gather page charts measure views bars thumbnails",
    "client/data/conversion/events": "converter mapping tables omop fhir raw times units resolve store history "
    "moments inputs targets",
    "client/data/conversion/images": "mapping find_files convert feature_words image_tensors resampling",
    "client/admission": "rules policy_bounds decisions quotas explain budget_forecast",
    "client/ledger": "entry_text summary recovery",
    "client/study": "request_handler policy_in_force waiting_studies used_data context participation problem "
    "key_epochs kept_secrets witness_check peer_heads witness_peers peer_testimony local_round "
    "room_check noise_modes control_variates personal_layers carried_noise cut_values noiseless_sums "
    "shared_counts seal_round outgoing_update opening_ahead apply_aggregate state history store round_files "
    "held_models released_model release_folder release statistics_file model_card card_document "
    "papers held_budget activity_log own_training train_alone alone_card",
    "client/training": "jobs interface array_format job_format answer_format frames worker child confinement "
    "restrict system_calls session device device_records free_memory physical_batch study_model step_rules "
    "lots_in_turn local_steps global_step site_update scoring statistics statistics_session simulate "
    "confined_conversion conversion_child",
    "client/training/launchers": "choose queue queued job_folder slurm kubernetes manifests batch_job",
    "client/prediction": "release_contract columns predict prediction_file figures calibration certificate certify "
    "level_set refine watch",
    "client/prediction/explanation": "explain score attributions letters explanation_file picture",
    "client/prediction/export": "formats exported_model scores description onnx_file onnx_operators "
    "monai_bundle quiet",
    "client/audit": "canaries memory_rounds attack audit_study own_data",
    "client/release_report": "make_report subgroups own_groups reliability outlines page in_words "
    "privacy_section plots",
    "server": "cli",
    "server/commands": "members sites study study_run study_new study_check launching study_feasibility "
    "study_results study_schema study_graph model testimony log check doctor backup demo audit_run connect init "
    "up",
    "server/health": "coordinator network records",
    "server/control": "coordinator runs server caller rate_limit refused_calls membership study_calls "
    "message_calls transfers metrics",
    "server/federation": "folder config members invitations certificates client_certificates gateway_files "
    "audit_log profile relayed_answers testimony ports",
    "server/superlink": "process program gate direct_calls fleet_callers database control_api process_tags "
    "output_log bundle server_app run grid message_marks",
    "server/study": "runner machine transitions state sites timeouts key_epochs rounds evaluation closing actions "
    "events notes journal aggregates uploads witness crash_marks figures draft_file graph_file check "
    "check_statistics check_result slow_layers",
    "server/results": "tally read documents text",
    "server/watch": "progress",
    "server/feasibility": "derive page charts",
    "server/demo": "demo sources hospitals local_federation processes result report",
    "privacy/study": "terms model training stage augmentation guarantee aggregation evaluation fixed_lots "
    "statistics_study cost launch summary schema",
    "privacy/study/data": "kinds contract tensors table columns labels arrays letters sequences pairs expression "
    "images events event_criteria event_labels code_systems",
    "privacy/study/tasks": "kinds task figures binary classes multiclass ordinal multilabel number_target "
    "regression pairs survival segmentation reconstruction neighbouring_visits next_event embedding "
    "measures statistics",
    "privacy/study/guide": "guidance training data tasks augmentation images sequences events",
    "privacy/accounting": "events renyi records_per_patient epsilon pld calibration plan grant_order "
    "renyi_filter account figures moments_accountant analytic_gaussian adaptive_filters correlated_noise "
    "group_privacy integer_noise individual_filter",
    "privacy/mechanisms": "value_range discrete_gaussian distributed_noise shared_totals site_clipping "
    "noised_parameters selective_sharing correlated_noise",
    "privacy/dpsgd": "engine records named_tensors mechanism torch_randomness batching loss trainable activations "
    "record_axes ghost_clipping norms layer_checks self_test example opacus_reference fixed_order",
    "privacy/dpsgd/grad_sample": "registry patient_gradients outer_products linear embedding normalisation "
    "convolution fallback",
    "privacy/secure_aggregation": "round_layout quantise layout check_fields masks seal aggregate opening "
    "process_pool mailbox",
    "privacy/secure_aggregation/schemes": "scheme registry bfv ring_product ring ring_errors coefficients "
    "residues bfv_parameters plain paillier_scheme lwe_scheme phong batchcrypt bcp_parties bcp threshold "
    "threshold_ring paillier lwe primes",
    "privacy/control": "calls order channel joining flat_messages",
    "privacy/protocol": "enrolment invitation envelope messages key_messages headers site_testimony flower_records "
    "chunks",
    "privacy/ledger": "ledger transaction replay check_ahead state rules entries signing approvals decisions "
    "cohorts evidence totals signed_head recovery launches papers verified_mark database export testimony",
    "privacy/audit": "cli read_ledger check_ledger site_ledger site_witnesses check_evidence evidence_changes "
    "what_if",
    "privacy/audit/empirical": "binomial largest_epsilon one_run trade_off many_runs guesses",
    "privacy/audit/commands": "verify report reconcile whatif verify_evidence",
    "privacy/audit/report": "timeline findings page population_section study_section study_facts charts "
    "formatting html",
    "privacy": "errors refusal_codes labels canonical document fields sentence invisible base64url keys "
    "typed_keys signed signature_checkers signature_worker signed_lines client_certificate consortium "
    "key_derivation randomness files spool growing_file sqlite_file exchanged_files encrypted_file passphrase "
    "backup_rules backup restore address proxy reachability health machine_checks metrics "
    "support_file secret_search sbom program logs process_lifetime process_memory garbage_collection "
    "step_times command_line",
    "models": "catalogue entry fit task outputs describe errors",
    "models/tabular": "logistic mlp projected_mlp autoencoder variational_autoencoder rbm",
    "models/imaging": "chest_xray_cnn pixeldp_cnn lung_pattern_cnn robot_surgery unet unet_3d ternausnet11 "
    "ternausnet16 linknet34 lv_segmentation md_gru dbn_ensemble image_table image_report deep_knee capsnet "
    "histology_crops lesion_sdae retina_attention",
    "models/records": "gru_d retain doctor_ai med2vec code_embeddings deepr patient2vec deep_care phenotyping_cnn "
    "event_ensemble deep_patient dbn care_events",
    "models/longitudinal": "dynamic_deephit disease_atlas modality_gru recurrent",
    "models/genomics": "deepchrome attentive_chrome adage gedfn splice_response jha_splicing tfimpute "
    "expression_contrast deep_motif basset gene2vec xpresso deepcpg speid expecto cancer_type d_gex "
    "expression_autoencoder late cnnc deepnet_rbp",
    "models/drugs": "deepdta smiles_rnn drug_class_mlp deepdr deepdtnet seq2seq_fingerprint cascade_fusion "
    "deepwalk_dti drug_combo deepdtis deepcpi deepsynergy dti_cnn dti_lstm dti_sae dfcnn gans_dta",
    "models/molecules": "graphs convolution policy reinforcement interactome likeness alarms critic pair_reward",
    "models/layers": "heads dense sigmoid rectifier letter_tower sequence_gan boltzmann vgg_unet convolutional_gru "
    "graph network_embedding graph_autoencoder image_blocks denoising segmentation fusion recurrent "
    "masked_softmax masked_max visit_outputs sparsity gaussian_code regions own_codes sequence_blocks "
    "private_projection bounded_noise",
    "models/tasks": "registry binary multiclass ordinal multilabel regression pairs survival segmentation "
    "reconstruction next_event embedding histograms confusion two_way_counts visit_recall group_counts "
    "number_losses precision uncertainty exact_figures statistics statistics_document",
    "models/augment": "augmentation draws flips resampling translation intensity stain sequences words",
    "models/generated": "study records",
    "models/parameters": "trainable flatten vector initial pretrained weights_file lora",
    "models/federated": "server_optimiser early_stopping",
}


def files() -> list[str]:
    """Every file that the lists name."""
    return [f"{room}/{name}.py" for room, names in ROOMS.items() for name in names.split()]


def first_sentence(path: Path) -> str:
    """The first line of a file's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].removesuffix(".").removesuffix(":")


def page() -> str:
    """The page with its lists as they must be."""
    text = PAGE.read_text(encoding="utf-8")
    for room, names in ROOMS.items():
        entries = [f"- `{name}.py`: {first_sentence(ROOT / room / f'{name}.py')}" for name in names.split()]
        lines = [textwrap.fill(entry, 120, subsequent_indent="  ", break_on_hyphens=False) for entry in entries]
        about = first_sentence(ROOT / room / "__init__.py")
        block = f"#### `{room}/`\n\n{about}.\n\n" + "\n".join(lines) + "\n"
        before, heading, rest = text.partition(f"#### `{room}/`\n")
        assert heading, f"docs/architecture.md has no heading of {room}/"
        _, following, after = rest.partition("\n#")
        text = before + block + following + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
