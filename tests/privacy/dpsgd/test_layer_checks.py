"""Layers that are refused on sight."""

import pytest
from torch import nn

from privacy.dpsgd import check_module
from privacy.errors import TermsError


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(5), nn.SyncBatchNorm(5), nn.InstanceNorm1d(5, track_running_stats=True)]
)
def test_check_module_layer_that_mixes_records_is_named(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.ELU(), layer), nn.Linear(5, 1))
    with pytest.raises(TermsError, match=rf"layer '1\.1' \({type(layer).__name__}\) mixes records"):
        check_module(module)


@pytest.mark.parametrize(
    ("layer", "replacement"),
    [
        (nn.LSTM(6, 5), "DPLSTM"),
        (nn.GRU(6, 5), "DPGRU"),
        (nn.RNN(6, 5), "DPRNN"),
        (nn.MultiheadAttention(6, 2), "DPMultiheadAttention"),
    ],
)
def test_check_module_layer_that_hides_gradients_is_named_with_its_replacement(
    layer: nn.Module, replacement: str
) -> None:
    with pytest.raises(TermsError, match=rf"layer '0' \({type(layer).__name__}\).* use {replacement} of opacus"):
        check_module(nn.Sequential(layer))


@pytest.mark.parametrize("layer", [nn.Embedding(4, 3, max_norm=1.0), nn.Embedding(4, 3, scale_grad_by_freq=True)])
def test_check_module_embedding_that_depends_on_other_records_is_named(layer: nn.Module) -> None:
    with pytest.raises(TermsError, match=r"layer '0' \(Embedding\) has max_norm or scale_grad_by_freq"):
        check_module(nn.Sequential(layer))
