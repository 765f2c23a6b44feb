"""A step of one's own: a small picture of each picture.

`POSTPROCESSING_STEPS=virusscan,thumbnail penstock serve --steps examples/thumbnails.py` runs it after the scan.

Thumbnails go to the folder that THUMBNAILS names (default: `thumbnails` where the server was started), as
`<upload ID>.png`. Needs Pillow: `pip install '.[thumbnails]'` in a clone.
"""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from penstock import Outcome, StepResult, StepUpload, step

SIZE = (256, 256)


@step("thumbnail", workers=2)
def thumbnail(upload: StepUpload) -> StepResult:
    """Make a thumbnail if the file is a picture; anything else goes on as it is."""
    folder = Path(os.environ.get("THUMBNAILS", "thumbnails"))
    try:
        with upload.open() as file, Image.open(file) as picture:
            upload.heartbeat(0.5, f"a picture of {picture.width} x {picture.height}")
            picture.thumbnail(SIZE)
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f"{upload.id}.part"
            picture.convert("RGB").save(unfinished, "PNG")
            unfinished.replace(folder / f"{upload.id}.png")
    except UnidentifiedImageError:
        return StepResult(Outcome.CONTINUE, message="not a picture")
    except OSError as error:
        return StepResult(Outcome.CONTINUE, message=f"a picture that cannot be read: {error}")
    return StepResult(Outcome.CONTINUE, result={"thumbnail": f"{upload.id}.png"})
