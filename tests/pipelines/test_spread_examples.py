"""The examples that spread work by other libraries, where these are installed: on two workers, over loopback."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from deberta_tasks import pipeline

ROOT = Path(__file__).parents[2]
TEXTS = ["A day of sun.", "Rain again, and wind, and no end of it.", "Snow.", "Mist over the fields."]


def needs(*names: str) -> Any:
    missing = [name for name in names if not (importlib.util.find_spec(name) or shutil.which(name))]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [answer["label"] for answer in found] == [answer["label"] for answer in wanted]
    assert [answer["score"] for answer in found] == pytest.approx([answer["score"] for answer in wanted], abs=1e-5)


@needs("pyspark", "java", "pyarrow")
@pytest.mark.slow
def test_spark(tmp_path, checkpoint):
    import pyarrow
    import pyarrow.parquet

    model = checkpoint("text-classification")
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS}), tmp_path / "texts.parquet", row_group_size=2)
    given = {"--model": model, "--input": tmp_path / "texts.parquet", "--output": tmp_path / "labels.parquet"}
    script = ROOT / "examples" / "spread" / "label_spark.py"
    command = [sys.executable, script, *(part for item in given.items() for part in item)]
    local = {**environment(), "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=local, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = pyarrow.parquet.read_table(tmp_path / "labels.parquet").to_pylist()
    found.sort(key=lambda row: TEXTS.index(row["text"]))
    assert_same(found, pipeline("text-classification", str(model))(TEXTS))


def served(folder: Path, script: str, given: dict[str, Any], ask: Any, model: str) -> None:
    """The answers of a script that serves, asked by many at once, are those of the pipeline."""
    command = [sys.executable, str(ROOT / "examples" / "spread" / script)]
    command += [str(part) for item in given.items() for part in item]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                ask("Is it there?")
                break
            except (urllib.error.URLError, ConnectionError):
                text = (folder / "log").read_text()[-3000:]
                assert server.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(1)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, TEXTS * 4))
        assert_same(found, pipeline("text-classification", model)(TEXTS * 4))
    finally:
        server.terminate()
        server.wait(60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def post(url: str, body: Any) -> Any:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.loads(answer.read())


@needs("ray", "starlette")
@pytest.mark.slow
def test_ray_serve(tmp_path, checkpoint):
    model, port = str(checkpoint("text-classification")), free_port()

    def ask(text: str) -> Any:
        return post(f"http://127.0.0.1:{port}", {"text": text})

    served(tmp_path, "serve_ray.py", {"--model": model, "--replicas": 2, "--port": port}, ask, model)


@needs("kserve")
@pytest.mark.slow
def test_kserve(tmp_path, checkpoint):
    model, port = str(checkpoint("text-classification")), free_port()

    def ask(text: str) -> Any:
        url = f"http://127.0.0.1:{port}/v1/models/rain:predict"
        for wrong in ({"instances": text}, {"instances": []}, {"texts": [text]}):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                post(url, wrong)
        (answer,) = post(url, {"instances": [text]})["predictions"]
        return answer

    given = {"--model_dir": model, "--model_name": "rain", "--workers": 2, "--http_port": port}
    given["--enable_grpc"] = "false"
    served(tmp_path, "serve_kserve.py", given, ask, model)


def test_a_client_that_gave_up_took_the_answers_of_others_along(monkeypatch):
    """KServe itself is stood in for: what is tested is the page's own."""
    parts = {
        "Model": type("Model", (), {"__init__": lambda self, name: None}), "ModelServer": object,
        "model_server": types.SimpleNamespace(parser=argparse.ArgumentParser(add_help=False)),
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, "kserve", types.SimpleNamespace(**parts))
    monkeypatch.setitem(sys.modules, "kserve.errors", types.SimpleNamespace(InvalidInput=ValueError))
    spec = importlib.util.spec_from_file_location("page", ROOT / "examples" / "spread" / "serve_kserve.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)

    def classify(texts):
        time.sleep(0.2)
        if "bad" in texts:
            raise RuntimeError("it failed")
        return [text.upper() for text in texts]

    async def ask_while_others_give_up():
        server = page.Classifier("rain", "my-model")
        server.classify = classify

        def ask(*texts):
            return asyncio.create_task(server.predict({"instances": list(texts)}))

        first, found = ask("a"), []
        await asyncio.sleep(0.1)
        given_up, other = ask("b"), ask("c", "d")  # they wait while the first is computed
        await asyncio.sleep(0.05)
        given_up.cancel()
        found += await asyncio.wait_for(asyncio.gather(first, other), 10)
        given_up, other = ask("e"), ask("f")
        await asyncio.sleep(0.1)
        given_up.cancel()  # the one that computes for both
        found.append(await asyncio.wait_for(other, 10))
        with pytest.raises(RuntimeError, match="it failed"):
            await asyncio.wait_for(ask("bad"), 10)
        return [answer["predictions"] for answer in found]

    assert asyncio.run(ask_while_others_give_up()) == [["A"], ["C", "D"], ["F"]]
