"""A classifier on KServe, by its protocol: requests that come together are computed together, by several workers.

    python examples/spread/serve_kserve.py --model_dir my-model --workers 2 --enable_grpc false
    curl localhost:8080/v1/models/model:predict --json '{"instances": ["A fine day."]}'

A request waits ten milliseconds, and while others are computed; all that wait are then one batch. In a cluster this is
the command of an ``InferenceService``'s container. An export (``deberta export``) is served without PyTorch.
"""

import argparse
import asyncio
import functools
import itertools

from kserve import Model, ModelServer, model_server
from kserve.errors import InvalidInput

from deberta_tasks import pipeline

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], parents=[model_server.parser])
parser.add_argument("--model_dir", required=True, help="folder with tokenizer and checkpoint, or an export")


class Classifier(Model):
    """What each worker has a copy of."""

    def __init__(self, name, folder):
        super().__init__(name)
        self.folder, self.waiting, self.computing, self.ready = folder, [], asyncio.Lock(), True

    @functools.cached_property
    def classify(self):
        """The model, read by a worker when it is first asked: what KServe sends to workers holds none."""
        return pipeline("text-classification", self.folder, truncation=True)

    async def predict(self, payload, headers=None, response_headers=None):
        """Texts in, a label and score for each out."""
        texts = payload.get("instances") if isinstance(payload, dict) else None
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) and text.strip() for text in texts)):
            raise InvalidInput('expected a list of texts: {"instances": ["A fine day."]}')
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((texts, answer))
        await asyncio.sleep(0.01)
        await asyncio.shield(self.compute())  # a client that gives up takes no other's answer along
        return {"predictions": await answer}

    async def compute(self):
        """Answer all that wait: nobody, where an earlier request took this one along."""
        async with self.computing:
            together, self.waiting = self.waiting, []
            if not together:
                return
            try:
                found = iter(await asyncio.to_thread(self.classify, [text for one, _ in together for text in one]))
                answers, failure = [list(itertools.islice(found, len(one))) for one, _ in together], None
            except Exception as error:
                answers, failure = [None] * len(together), error
            for (_, waiter), answer in zip(together, answers, strict=True):
                if waiter.cancelled():
                    continue
                if failure is None:
                    waiter.set_result(answer)
                else:
                    waiter.set_exception(failure)


if __name__ == "__main__":
    args = parser.parse_args()
    ModelServer(workers=args.workers).start([Classifier(args.model_name, args.model_dir)])
