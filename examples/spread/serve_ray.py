"""A classifier behind HTTP on Ray Serve: requests that come together are computed together, by several replicas.

    python examples/spread/serve_ray.py --model my-model --replicas 2
    curl localhost:8000 --json '{"text": "A fine day."}'

A request waits ten milliseconds for others, which are then one batch. An export (``deberta export``) is served by its
runtime, without PyTorch. One process and no cluster: ``examples/serve.py``.
"""

import argparse

from ray import serve

from deberta_tasks import pipeline

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder with tokenizer and checkpoint, or an export")
parser.add_argument("--replicas", type=int, default=1, help="processes with a model each")
parser.add_argument("--port", type=int, default=8000)
args = parser.parse_args()


@serve.deployment(num_replicas=args.replicas)
class Classifier:
    """A replica: a process with a model."""

    def __init__(self, model):
        self.classify = pipeline("text-classification", model)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)
    async def batch(self, texts):
        """One answer for each text, in their order."""
        return self.classify(texts)

    async def __call__(self, request):
        """A text in, its label and score out."""
        return await self.batch((await request.json())["text"])


serve.start(http_options={"host": "127.0.0.1", "port": args.port})
serve.run(Classifier.bind(args.model), blocking=True)
