"""Draw an explanation as a PNG: an image with what speaks for and against, a map of places, or bars of columns.

Red raises the score, blue lowers it; the scale is the same on both sides of 0. Of a volume the slice with the largest
attribution is drawn.
"""

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.prediction.explanation.attributions import Values
from privacy.errors import ReleaseError

_MOST_BARS: Final = 25


def draw_image(image: NDArray[Any], attributions: Values, title: str) -> bytes:
    """Draw an image beside itself with its attributions, both (channels, *space).

    Raises:
        ReleaseError: a package is missing.
    """
    figure = _make_figure(9.0, 4.6)
    shown, values = _take_slice(image, attributions)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.imshow(shown, cmap="gray", interpolation="nearest")
        axes.set_axis_off()
    most = float(np.abs(values).max()) or 1.0
    drawn = right.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.55, interpolation="nearest")
    figure.colorbar(drawn, ax=right, fraction=0.046, label="what a window adds to the score")
    return _save(figure, title)


def draw_map(attributions: Values, name: str, title: str, meaning: str = "what it adds to the score") -> bytes:
    """Draw the attributions of an input, (first axis, the rest), as a map; ``meaning`` says what its colours are.

    Raises:
        ReleaseError: as :func:`draw_image`.
    """
    values = np.atleast_2d(attributions)
    values = values.reshape(values.shape[0], -1)
    figure = _make_figure(9.0, min(12.0, 2.2 + 0.12 * values.shape[0]))
    axes = figure.subplots()
    most = float(np.abs(values).max()) or 1.0
    drawn = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    axes.set_xlabel(f"{name}: last axis")
    axes.set_ylabel(f"{name}: first axis")
    figure.colorbar(drawn, ax=axes, label=meaning)
    return _save(figure, title)


def draw_bars(names: list[str], values: list[float], title: str) -> bytes:
    """Draw a bar for each name, the first on top.

    Raises:
        ReleaseError: as :func:`draw_image`.
    """
    names, values = names[:_MOST_BARS], values[:_MOST_BARS]
    figure = _make_figure(9.0, 1.6 + 0.3 * len(names))
    axes = figure.subplots()
    axes.barh(range(len(names)), values, color=["#b2182b" if each > 0 else "#2166ac" for each in values])
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("what it adds to the score")
    return _save(figure, title)


def _take_slice(image: NDArray[Any], attributions: Values) -> tuple[NDArray[Any], Values]:
    """Return two axes of an image and its attributions: of colours the mean, of a volume one slice."""
    shown, values = image.astype(np.float64).mean(axis=0), attributions.mean(axis=0)
    while values.ndim > 2:
        best = int(np.abs(values).reshape(len(values), -1).max(axis=1).argmax())
        shown, values = shown[best], values[best]
    return shown, values


def _make_figure(width: float, height: float) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ReleaseError("a picture needs the extra 'explain': pip install 'consilium[explain]'") from None
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, title: str) -> bytes:
    # matplotlib reads $...$ as mathematics
    figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
