"""`python -m search.serve MODEL`: a page on this machine that answers for one radiograph at a time."""

from __future__ import annotations

from functools import partial

from search.cli import console
from search.cli.console import BANNER, NOTICE
from search.cli.shared import Saved
from search.serving.options import ServingOptions
from search.serving.server import listening, require, serve

EXAMPLES = """
python -m search.serve results/mine/winner
python -m search.serve results/mine/winner --port 0 --prevalence 0.1
python -m search.serve results/mine/winner/model.onnx
"""


def main(model: Saved, *, asked: ServingOptions) -> int:
    """Try a saved model in the browser: drop a radiograph, get probability, decision and heat map; ends with Ctrl-C.

    The page is on 127.0.0.1, for this machine only. Images are not stored. JPEG, PNG, PGM and DICOM files are read as
    in search.predict. Not a medical device.
    """
    require()
    with listening(asked.port) as at:
        console.err.say(f"Loading {model} …")
        from search.serving.answering import answered, warm
        from search.serving.application import application
        from search.serving.page import page
        from xraytune.data.decoding.reading import MOST_BYTES
        from xraytune.inference.classifier import load_model
        from xraytune.inference.predict_files import Stated

        loaded = load_model(model)
        stated = Stated(asked.prevalence, asked.threshold)
        if restated := stated.check(loaded):
            console.err.say(restated)
        warm(loaded, stated)
        if loaded.card.demonstration:
            console.err.say(f"{BANNER}: the model was trained on synthetic images.", style="bold yellow")
        console.err.say(NOTICE)
        app = application(page(loaded, stated, MOST_BYTES), partial(answered, loaded, stated), largest=MOST_BYTES)
        console.out.print(f"http://127.0.0.1:{at.getsockname()[1]}  (this machine alone; Ctrl-C ends it)")
        serve(app, at)
    return 0


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)
