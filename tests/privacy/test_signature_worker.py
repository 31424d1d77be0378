"""What goes to a process that verifies signatures, and what comes back."""

import io
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from privacy.keys import PublicKey, SignedBytes, SigningKey
from privacy.signature_worker import check_batch, format_batch, read_batches

ANY = st.builds(SignedBytes, st.binary(max_size=40).map(PublicKey), st.binary(max_size=70), st.binary(max_size=99))


@given(st.lists(st.lists(ANY, min_size=1, max_size=4), max_size=3))
def test_batches_read_back_as_they_were_written(batches: list[list[SignedBytes]]) -> None:
    pipe = io.BytesIO(b"".join(map(format_batch, batches)))
    assert list(read_batches(pipe)) == batches


@given(st.lists(ANY, max_size=4))
def test_bytes_that_are_no_signature_hold_for_nothing(batch: list[SignedBytes]) -> None:
    assert check_batch(batch) == bytes(len(batch))


def test_each_signature_has_its_own_answer() -> None:
    key = SigningKey.generate()
    true = SignedBytes(key.public, key.sign(b"message"), b"message")
    assert check_batch([true, true._replace(message=b"massage"), true]) == bytes([1, 0, 1])


def test_process_imports_little() -> None:
    """It starts for every verification of a long ledger; pydantic alone would take longer than 1,000 signatures."""
    said = "import sys, privacy.signature_worker; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    assert "cryptography" in found
    assert not {"pydantic", "numpy", "yaml", "privacy.ledger"} & set(found)
