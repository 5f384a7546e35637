"""transformers' example scripts, run as they are (the control) and with their imports changed to ours.

A script counts when it ends well and its own kind of class loads what it saved.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.peers.names import changed

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SAMPLES = "tests/fixtures/tests_samples"
DATA = {  # options that name the data
    "glue": f"--train_file {SAMPLES}/MRPC/train.csv --validation_file {SAMPLES}/MRPC/dev.csv",
    "ner": f"--train_file {SAMPLES}/conll/sample.json --validation_file {SAMPLES}/conll/sample.json",
    "qa": f"--train_file {SAMPLES}/SQUAD/sample.json --validation_file {SAMPLES}/SQUAD/sample.json "
    "--version_2_with_negative --max_seq_length 128 --doc_stride 32",
    "swag": f"--train_file {SAMPLES}/swag/sample.json --validation_file {SAMPLES}/swag/sample.json",
    "mlm": "--train_file tests/fixtures/sample_text.txt --validation_file tests/fixtures/sample_text.txt "
    "--max_seq_length 64",
}
TRAINER = "--do_train --do_eval --max_steps 4 --per_device_train_batch_size 4 --overwrite_output_dir --report_to none"
BARE = "--max_train_steps 4 --per_device_train_batch_size 4"
KERAS = "--do_train --do_eval --num_train_epochs 1 --per_device_train_batch_size 4 --overwrite_output_dir"
HEADS = {
    "glue": "ForSequenceClassification", "ner": "ForTokenClassification", "qa": "ForQuestionAnswering",
    "swag": "ForMultipleChoice", "mlm": "ForMaskedLM",
}  # fmt: skip
PYTORCH = [  # path below examples/pytorch, kind of data, options
    ("text-classification/run_glue.py", "glue", f"{TRAINER} --max_seq_length 64"),
    ("text-classification/run_glue_no_trainer.py", "glue", f"{BARE} --max_length 64"),
    ("text-classification/run_classification.py", "glue",
     f"{TRAINER} --max_seq_length 64 --text_column_names sentence1 --label_column_name label --shuffle_train_dataset"),
    ("token-classification/run_ner.py", "ner", TRAINER),
    ("token-classification/run_ner_no_trainer.py", "ner", BARE),
    ("question-answering/run_qa.py", "qa", TRAINER),
    ("question-answering/run_qa_no_trainer.py", "qa", BARE),
    ("multiple-choice/run_swag.py", "swag", TRAINER),
    ("multiple-choice/run_swag_no_trainer.py", "swag", BARE),
    ("language-modeling/run_mlm.py", "mlm", TRAINER),
    ("language-modeling/run_mlm_no_trainer.py", "mlm", BARE),
]  # fmt: skip
TENSORFLOW = [  # path below examples/tensorflow, and as above
    ("text-classification/run_glue.py", "glue", f"{KERAS} --task_name mrpc --max_seq_length 64"),
    ("text-classification/run_text_classification.py", "glue", f"{KERAS} --max_seq_length 64"),
    ("token-classification/run_ner.py", "ner", KERAS),
    ("question-answering/run_qa.py", "qa", KERAS),
    ("multiple-choice/run_swag.py", "swag", KERAS),
    ("language-modeling/run_mlm.py", "mlm", KERAS),
]


def run(
    checkout: Path, work: Path, checkpoints: Path, *, framework: str, ours: bool, door: str = "", only: str = ""
) -> dict:
    """Outcome and last line of each script by its path.

    Args:
        checkout: of theirs.
        work: a folder to be made.
        checkpoints: small models of either family.
        framework: ``pt`` or ``tf``.
        ours: take names from our packages.
        door: a module to run the unchanged script through, as ``python -m``.
        only: what the path of a script must have in it.
    """
    package = {"pt": "deberta_pt", "tf": "deberta_tf"}[framework]
    folder = checkout / "examples" / {"pt": "pytorch", "tf": "tensorflow"}[framework]
    found = {}
    rows = PYTORCH if framework == "pt" else TENSORFLOW
    for path, kind, options in (row for row in rows if only in row[0]):
        place = work / path.removesuffix(".py").replace("/", "-")
        (place / "out").mkdir(parents=True)  # some of TensorFlow's write into it before they save
        (place / "tests").symlink_to(checkout / "tests")
        for source in (folder / path).parent.glob("*.py"):
            text = source.read_text(encoding="utf-8")
            (place / source.name).write_text(changed(text, (package,)) if ours else text, encoding="utf-8")
        env = {
            **os.environ, "PYTHONPATH": os.pathsep.join([str(HERE / "standins"), str(ROOT)]), "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(place / "cache"), "PEERS_MRPC": str(checkout / SAMPLES / "MRPC"),
            "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
        }  # fmt: skip
        data = "" if "--task_name" in options else DATA[kind]
        model = checkpoints / framework / "deberta-v2" / "DebertaV2Model"
        command = f"{data} {options} --model_name_or_path {model} --output_dir {place / 'out'}".split()
        before = [*(["-m", door] if door else []), str(HERE / "standins" / "runner.py")]
        with (place / "log.txt").open("w") as log:
            code = subprocess.run(
                [sys.executable, *before, str(place / Path(path).name), *command],
                cwd=place, env=env, stdout=log, stderr=log, check=False,
            ).returncode  # fmt: skip
            prefix = "TF" if framework == "tf" else ""
            module = package if ours else "transformers"
            load = (
                f"from {module} import {prefix}DebertaV2{HEADS[kind]} as M, AutoTokenizer as T\n"
                f"import sys\nM.from_pretrained(sys.argv[1])\n"
            ) + ("T.from_pretrained(sys.argv[1])\n" if framework == "pt" else "")  # TensorFlow's save no tokenizer
            loads = code == 0 and not subprocess.run(
                [sys.executable, "-c", load, str(place / "out")], cwd=place, env=env, stdout=log, stderr=log,
                check=False,
            ).returncode  # fmt: skip
        last = (place / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        outcome = "passed" if loads else "failed"
        found[path] = outcome, ("" if loads else ("does not load: " if code == 0 else "") + "".join(last))
        print(f"  {path:50} {outcome} {found[path][1][:150]}", flush=True)
    return found
