"""Small random checkpoints of transformers' own making, for its tests of pipelines and its example scripts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

ARCHITECTURES = (
    "Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForMultipleChoice",
)  # fmt: skip
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "max_position_embeddings": 512, "type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
}  # fmt: skip
SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]


def tokenizers(folder: Path, sentencepiece: Path) -> dict:
    """transformers' fast tokenizer of each family: bytes alone (v1), and a SentencePiece model of its fixtures (v2)."""
    import transformers
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    files = folder / "bytes"
    files.mkdir(parents=True)
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL, *bytes_to_unicode().values()])}
    (files / "vocab.json").write_text(json.dumps(vocabulary))
    (files / "merges.txt").write_text("#version: 0.2\n")
    paths = str(files / "vocab.json"), str(files / "merges.txt")
    first = transformers.DebertaTokenizerFast(*paths, model_max_length=512)
    slow = transformers.DebertaV2Tokenizer(str(sentencepiece), model_max_length=512)
    slow.save_pretrained(files / "v2")
    return {"Deberta": first, "DebertaV2": transformers.DebertaV2TokenizerFast.from_pretrained(files / "v2")}


def make(folder: Path, sentencepiece: Path, framework: str) -> None:
    """Write them, and the summary that the tests of pipelines look for."""
    import transformers

    prefix = "TF" if framework == "tf" else ""
    if framework == "pt":
        import torch

        torch.manual_seed(0)
    else:
        import tf_keras

        tf_keras.utils.set_random_seed(0)  # TensorFlow's own seed is none for Keras' starting weights
    summary = {}
    for family, tokenizer in tokenizers(folder, sentencepiece).items():
        config_class = getattr(transformers, family + "Config")
        sizes = SIZES if family == "Deberta" else {**SIZES, "position_buckets": 16, "share_att_key": True}
        config = config_class(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
        for architecture in ARCHITECTURES:
            name = family + architecture
            if not hasattr(transformers, prefix + name):
                continue
            model = getattr(transformers, prefix + name)(config)
            target = folder / config.model_type / name
            if framework == "tf":
                model(model.dummy_inputs)
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
            classes = [f"{family}Tokenizer", f"{family}TokenizerFast"]
            models = [name, "TF" + name]
            summary[name] = {"tokenizer_classes": classes, "processor_classes": [], "model_classes": models}
    (folder / "reports").mkdir()
    (folder / "reports" / "tiny_model_summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    make(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
