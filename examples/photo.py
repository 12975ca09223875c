"""Print the faces of one photo and save the annotated picture.

    python examples/photo.py PHOTO [--out annotated.png]

Needs nothing but ``pip install ferkit``: no network, no TensorFlow.
"""

from __future__ import annotations

import argparse
import sys

from ferkit import ImageError, Pipeline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", help="an image file")
    parser.add_argument("--out", default="annotated.png", help="where the annotated picture goes (default: %(default)s)")
    args = parser.parse_args()

    try:
        result = Pipeline()(args.photo)
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1

    print(f"{args.photo}: {result.width}x{result.height} pixels, {len(result)} face(s)")
    for number, face in enumerate(result.faces):
        expression = face.expression
        ranked = sorted(expression.probabilities.items(), key=lambda item: item[1], reverse=True)
        print(f"  face {number} at {', '.join(f'{v:.0f}' for v in face.box)}: {expression.label} {expression.confidence:.2f}")
        print("    " + ", ".join(f"{label} {p:.2f}" for label, p in ranked))

    result.draw().save(args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
