"""Report the health of an installation: one line for each check, green, amber or red, with the next step.

* Green needs nothing, amber will need something, red keeps this installation from its work.
* A check changes nothing. One that fails itself is a red line with its sentence, never a traceback.
* A line holds public facts and this machine's own; no record's value and no secret.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import model_validator

from privacy.command_line import Styled, print_json, print_text, style
from privacy.document import Document
from privacy.errors import Error
from privacy.invisible import escape_invisible


class Light(StrEnum):
    """How a check ended."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


_COLOURS: Final = {Light.GREEN: "green", Light.AMBER: "yellow", Light.RED: "red"}


class Line(Document):
    """What one check found; ``step`` says what to do, and is there unless the light is green."""

    check: str
    light: Light
    found: str
    step: str = ""

    @model_validator(mode="after")
    def _says_what_to_do(self) -> Self:
        if self.light is not Light.GREEN and not self.step:
            raise ValueError(f"the {self.light} line '{self.check}' names no next step")
        return self


class Health(Document):
    """All lines of one installation: what ``check --json`` prints, and ``doctor`` puts into its file."""

    version: Literal[1] = 1
    program: str
    program_version: str
    subject: str
    """The site or the federation, by name."""
    time: str
    lines: tuple[Line, ...]

    def require_no_red(self, error: type[Error]) -> None:
        """Refuse an installation with a red line.

        Raises:
            error: naming the red checks.
        """
        wrong = [line.check for line in self.lines if line.light is Light.RED]
        if wrong:
            raise error(
                f"{len(wrong)} of {len(self.lines)} checks are red: {', '.join(wrong)}; each names its next step"
            )


Check = Callable[[], Iterable[Line]]


def green(check: str, found: str) -> Line:
    """Make the line of a check that needs nothing."""
    return Line(check=check, light=Light.GREEN, found=found)


def amber(check: str, found: str, step: str) -> Line:
    """Make the line of a check that will need something."""
    return Line(check=check, light=Light.AMBER, found=found, step=step)


def red(check: str, found: str, step: str) -> Line:
    """Make the line of a check that keeps the installation from its work."""
    return Line(check=check, light=Light.RED, found=found, step=step)


def run_checks(checks: Iterable[tuple[str, Check]]) -> Iterator[Line]:
    """Run checks one after the other, and yield their lines as they come.

    Args:
        checks: each with the name that its line has where the check itself fails.
    """
    for name, check in checks:
        try:
            yield from check()
        except Error as error:
            yield red(name, str(error), "do what the sentence says, then check again")
        except OSError as error:
            yield red(name, f"{error.filename or 'a file'}: {error.strerror}", "make it usable, then check again")
        except Exception as error:  # a defect of one check hides none of the others
            yield red(
                name,
                f"the check itself failed ({type(error).__name__})",
                "report it to the developers, with the file that 'doctor' writes",
            )


def print_health(health: Health, *, as_json: bool) -> None:
    """Print a report on stdout: as a table, the next step under each line that has one, or as one JSON document."""
    if as_json:
        print_json(health.model_dump(mode="json"))
        return
    width = max(len(line.check) for line in health.lines)
    for line in health.lines:
        light = style(f"{line.light:<5}", colour=_COLOURS[line.light], bold=line.light is Light.RED)
        print_text(Styled(f"{light}  {line.check:<{width}}  {escape_invisible(line.found)}"))
        if line.step:
            print_text(f"{'':<{width + 9}}-> {line.step}")
