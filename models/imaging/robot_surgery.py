"""What the networks of one comparison have in common: instruments in videos of robot-assisted surgery.

The paper compares U-Net, TernausNet-11, TernausNet-16 and LinkNet-34 on the same videos, trained alike. So they have
one source, and privacy replaces the same things in each.
"""

from typing import Final

from models.entry import Replacement

CITATION: Final = (
    "Shvets, Rakhlin, Kalinin and Iglovikov 2018, Automatic instrument segmentation in robot-assisted surgery using "
    "deep learning, ICMLA, arXiv:1803.01207"
)
REPOSITORY: Final = "https://github.com/ternaus/robot-surgery-segmentation"
OVERLAP: Final = Replacement(
    paper="minus the logarithm of the Jaccard index, summed over the batch, added to the cross-entropy",
    here="the task's loss: cross-entropy, and with task.overlap_weight the soft Dice of each image alone",
    why="a loss over a batch joins patients, so that no patient's share of the gradient could be bounded",
)
FRAMES: Final = Replacement(
    paper="every frame of a video is an example, in batches of 6 to 16",
    here="all frames of a patient are averaged into one gradient, and lots are drawn at random",
    why="the promise is made to patients, not to frames",
)
SCALE: Final = Replacement(
    paper="images normalised with the means and deviations of ImageNet",
    here="numbers scaled from their public range",
    why="the data contract scales every input alike; a file of ImageNet's weights needs its first layer converted to "
    "this scale",
)


def describe_figures(binary: float, parts: float, kinds: float) -> str:
    """Describe what the paper reports of a network, in per cent."""
    return (
        "Without privacy, on the robot-surgery videos of EndoVis 2017, the paper reports an intersection over union of "
        f"{binary:.2f} % for instruments against background, {parts:.2f} % for their parts, {kinds:.2f} % for their "
        "kinds (Shvets et al. 2018)."
    )
