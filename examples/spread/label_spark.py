"""Label the texts of a table on Spark: each Python worker of an executor loads the model once, and reads batches.

    python examples/spread/label_spark.py --model my-model --input texts.parquet --output labels.parquet

adds the columns ``label`` and ``score`` to a Parquet table with a column ``text``. Package and model, or its export
(``deberta export``), must be at the same place on all executors. Without Spark: ``deberta run --engine ray``.
"""

import argparse

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import FloatType, StringType, StructField, StructType

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder with tokenizer and checkpoint, or an export")
parser.add_argument("--input", required=True, help="Parquet with a column text")
parser.add_argument("--output", required=True, help="Parquet to write; it does not exist yet")
args = parser.parse_args()
model = args.model  # what a worker gets to see


def load():
    from deberta_tasks import pipeline

    classify = pipeline("text-classification", model)

    def label(texts):
        found = classify([str(text) for text in texts])
        return {
            "label": np.array([answer["label"] for answer in found], object),
            "score": np.array([answer["score"] for answer in found], np.float32),
        }

    return label


columns = StructType([StructField("label", StringType()), StructField("score", FloatType())])
label = predict_batch_udf(load, return_type=columns, batch_size=256)
table = SparkSession.builder.getOrCreate().read.parquet(args.input)
table.withColumn("found", label("text")).select(*table.columns, "found.label", "found.score").write.parquet(args.output)
