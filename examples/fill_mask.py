"""Print the likeliest words behind each [MASK] of a text, in PyTorch or TensorFlow.

    python examples/fill_mask.py --model path/to/deberta-v3-small --generator "The capital of France is [MASK]."

A published v3 folder holds a discriminator, which does not predict words, and a generator, which does: ``--generator``
takes that one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tokenization import AutoTokenizer


def load(framework: str, folder: Path, generator: bool) -> Any:
    """The masked-LM model of a folder; a head that is not in the file is named in a warning."""
    if framework == "pt":
        from deberta_pt import AutoModelForMaskedLM

        return AutoModelForMaskedLM.from_pretrained(folder, generator=generator)
    from deberta_tf import TFAutoModelForMaskedLM

    return TFAutoModelForMaskedLM.from_pretrained(folder, generator=generator)


def predict(framework: str, model: Any, tokenizer: Any, text: str) -> np.ndarray:
    """Logits ``[tokens, vocabulary]`` for one text."""
    encoded = dict(tokenizer([text], return_tensors=framework))
    if framework == "pt":
        import torch

        with torch.no_grad():
            return model(**encoded).logits[0].numpy()
    return model(encoded).logits[0].numpy()


def fill_mask(framework: str, model: Any, tokenizer: Any, text: str, *, top: int = 5) -> list[list[tuple[str, float]]]:
    """The likeliest tokens with their probabilities, for each [MASK] from left to right.

    Args:
        framework: ``pt`` or ``tf``.
        model: masked-LM model of that framework.
        tokenizer: the model's.
        text: with at least one [MASK].
        top: how many tokens.

    Raises:
        ValueError: if the text has no [MASK].
    """
    ids = np.array(tokenizer(text)["input_ids"])
    places = np.flatnonzero(ids == tokenizer.mask_token_id)
    if not len(places):
        raise ValueError(f"the text {text!r} has no {tokenizer.mask_token}; write it where a word is to be filled in")
    found = []
    for logits in predict(framework, model, tokenizer, text)[places]:
        likely = np.argsort(-logits, kind="stable")[:top]
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        words = [tokenizer.decode([token]) for token in likely.tolist()]
        found.append([(word, float(shares[token])) for word, token in zip(words, likely, strict=True)])
    return found


def main() -> None:
    """Print words for the texts of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with tokenizer and checkpoint")
    parser.add_argument("--generator", action="store_true", help="use the generator in the folder")
    parser.add_argument("--framework", choices=("pt", "tf"), default="pt")
    parser.add_argument("--top", type=int, default=5, help="words for each [MASK]")
    parser.add_argument("texts", nargs="+", help="texts with [MASK]")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = load(args.framework, args.model, args.generator)
    for text in args.texts:
        print(text)
        for words in fill_mask(args.framework, model, tokenizer, text, top=args.top):
            print("  " + "   ".join(f"{word.strip() or repr(word)} {share:.1%}" for word, share in words))


if __name__ == "__main__":
    main()
