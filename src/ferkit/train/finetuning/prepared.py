"""Faces that ``ferkit batch`` or ``ferkit prepare`` found before: read from their OUTPUT, and not looked for again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ...bulk.found import Found, FoundFaces, path_of
from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.preparing import is_prepared
from ...data.samples import Listing
from ...detectors.face_detector import FaceDetector
from ...errors import DataError, InputError
from ...image_files import expanded
from ...protocols import Detector
from .splitting import Parts

__all__ = ["Prepared"]


class Prepared:
    """An OUTPUT that knows the faces of some data.

    Args:
        output: Of ``ferkit prepare``, whose pictures are ready crops and the data themselves; or of a finished ``ferkit batch``.

    Raises:
        InputError: Neither, not finished, or without what is needed.
    """

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = os.fspath(output)
        self._job = None if is_prepared(expanded(output)) else FoundFaces(expanded(output))

    def data(self, given: Path | None) -> Path:
        """Return the data that are learnt from: those given, else those that the OUTPUT was made of. Raises InputError."""
        if self._job is None:
            own = expanded(self.output)
            if given is not None and given.resolve() != own.resolve():
                raise InputError(
                    f"prepared={self.output} was made by ferkit prepare, and has labels of its own; leave out data, or give the same folder.",
                    arguments=["prepared", "data"],
                )
            return own
        if given is not None:
            return given
        if self._job.input is None:
            raise InputError(
                f"prepared={self.output} has the rows of {' '.join(self._job.inputs)}, which says no labels; give data, "
                "a folder per label or a manifest of the same pictures.",
                arguments=["prepared", "data"],
            )
        return Path(self._job.input)

    def detector(self, classifier: ExpressionClassifier) -> Detector | None:
        """Return the detector for crops; None where faces are known from rows. Raises InputError for rows without landmarks that are needed."""
        if self._job is None or self._job.whole:
            return FaceDetector("none")
        if classifier.crop.mode == "aligned" and not self._job.landmarks:
            raise InputError(
                f"prepared={self.output} was made with landmarks=False, and {classifier.name} cuts faces by their landmarks; make it again with them.",
                arguments=["prepared"],
            )
        return None

    def parts(self, parts: Parts) -> Parts:
        """Return parts whose samples know their faces. Raises DataError if no row is of these pictures."""
        if self._job is None or self._job.whole:
            return parts
        listings = [part for part in (parts.learnt, parts.held) if part is not None]
        wanted = {path_of(Path.cwd(), sample.path) for part in listings for sample in part.samples}
        found = self._job.of(wanted)
        if not found:
            raise DataError(
                f"{self.output} has no row of a picture of {parts.learnt.source}; expected a job on the same files, "
                f"begun in {self._job.base} with {' '.join(self._job.inputs)}."
            )
        known = [self._known(part, found) for part in listings]
        line = f"Faces are those of {self.output}: {len(found):,} of {len(wanted):,} pictures."
        return Parts(known[0], known[1] if parts.held is not None else None, (*parts.lines, line))

    def _known(self, listing: Listing, found: dict[str, Found]) -> Listing:
        samples, skipped = [], list(listing.skipped)
        for sample in listing.samples:
            one = found.get(path_of(Path.cwd(), sample.path))
            if one is None:
                skipped.append((str(sample.path), f"{sample.path}: not in {self.output}; run ferkit batch there with --update."))
            elif one.error is not None:
                skipped.append((str(sample.path), one.error))
            else:
                samples.append(replace(sample, faces=tuple(one.faces), size=one.size))
        return replace(listing, samples=tuple(samples), skipped=tuple(skipped))
