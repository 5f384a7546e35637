"""What a caller gets wrong is refused before any arithmetic, with the same text in both frameworks.

Shapes and dtypes are refused everywhere; values in eager mode and, with the same text, in plain TensorFlow graphs.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.models.helpers import (
    BASES,
    assert_close,
    pt_inputs,
    pt_model,
    random_inputs,
    small_config,
    tf_inputs,
    tf_model,
)

MODEL, SEQUENCE, TOKEN = "Model", "ForSequenceClassification", "ForTokenClassification"
ANSWER, CHOICE, WORD = "ForQuestionAnswering", "ForMultipleChoice", "ForMaskedLM"
IDS = np.ones((2, 5), np.int64)
ABSOLUTE = {"position_biased_input": True, "max_position_embeddings": 8}
LONG = np.ones((2, 9), np.int64)
LABELS = {"labels", "start_positions", "end_positions"}


def ids(value):
    found = IDS.copy()
    found[1, 3] = value
    return found


# name -> head, config changes, inputs, text (a regular expression), whether it is the value that is wrong
ROWS = {
    "neither": (MODEL, {}, {}, "got neither input_ids and inputs_embeds, expected one of them", False),
    "both": (MODEL, {}, {"input_ids": IDS, "inputs_embeds": np.zeros((2, 5, 24), np.float32)}, "got both", False),
    "ids of one axis": (
        MODEL, {}, {"input_ids": IDS[0]},
        r"input_ids has shape \[5\], expected \[batch, length\]", False,
    ),
    "no tokens": (MODEL, {}, {"input_ids": IDS[:, :0]}, "length 0, expected at least one token", False),
    "narrow embeds": (
        MODEL, {}, {"inputs_embeds": np.zeros((2, 5, 23), np.float32)},
        r"inputs_embeds has shape \[2, 5, 23\], expected \[batch, length, 24\]", False,
    ),
    "embeds wider than the table": (
        MODEL, {"embedding_size": 10}, {"inputs_embeds": np.zeros((2, 5, 24), np.float32)},
        r"expected \[batch, length, 10\]", False,
    ),
    "short mask": (
        MODEL, {}, {"input_ids": IDS, "attention_mask": IDS[:, :4]},
        r"attention_mask has shape \[2, 4\], expected \[2, 5\] or \[2, 1, 1, 5\] or \[2, 5, 5\] or \[2, 1, 5, 5\]",
        False,
    ),
    "mask of one axis": (
        MODEL, {}, {"input_ids": IDS, "attention_mask": IDS[0]},
        r"attention_mask has shape \[5\]", False,
    ),
    "mask of heads": (
        MODEL, {}, {"input_ids": IDS, "attention_mask": np.ones((2, 3, 5, 5))},
        r"attention_mask has shape \[2, 3, 5, 5\]",
        False,
    ),
    "mask of half the pairs": (
        MODEL, {}, {"input_ids": IDS, "attention_mask": np.ones((2, 5, 4))},
        r"attention_mask has shape \[2, 5, 4\]", False,
    ),
    "additive mask": (
        MODEL, {}, {"input_ids": IDS, "attention_mask": np.where(IDS[:, None, None] > 0, 0.0, -1e9) - 1},
        r"attention_mask holds a negative value.*pass attention_mask=\(mask == 0\)", True,
    ),
    "short types": (
        MODEL, {"type_vocab_size": 2}, {"input_ids": IDS, "token_type_ids": IDS[:, :4]},
        r"token_type_ids has shape \[2, 4\], expected \[2, 5\]", False,
    ),
    "short positions": (
        MODEL, ABSOLUTE, {"input_ids": IDS, "position_ids": IDS[:, :4]},
        r"position_ids has shape \[2, 4\], expected \[2, 5\]",
        False,
    ),
    "too long": (
        MODEL, ABSOLUTE, {"input_ids": LONG},
        r"the inputs have 9 tokens, but the table of absolute positions has 8 rows \(max_position_embeddings\)", False,
    ),
    "too long for the decoder": (
        WORD, {"mlm_head": "emd", "max_position_embeddings": 8}, {"input_ids": LONG},
        "9 tokens, but the table of absolute positions has 8 rows", False,
    ),
    "position beyond its table": (
        MODEL, ABSOLUTE, {"input_ids": IDS, "position_ids": ids(8)}, r"position_ids holds an id outside 0\.\.7", True,
    ),
    "id beyond its table": (
        MODEL, {}, {"input_ids": ids(53)}, r"input_ids holds an id outside 0\.\.52; the word table has 53 rows", True,
    ),
    "negative id": (MODEL, {}, {"input_ids": ids(-1)}, r"input_ids holds an id outside 0\.\.52", True),
    "type beyond its table": (
        MODEL, {"type_vocab_size": 2}, {"input_ids": IDS, "token_type_ids": ids(2)},
        r"token_type_ids holds an id outside 0\.\.1; the table of token types has 2 rows", True,
    ),
    "ids as floats": (MODEL, {}, {"input_ids": IDS.astype(np.float32)}, r"input_ids holds .*expected integers", False),
    "types as floats": (
        MODEL, {"type_vocab_size": 2}, {"input_ids": IDS, "token_type_ids": IDS.astype(np.float32)},
        r"token_type_ids holds .*expected integers", False,
    ),
    "embeds as integers": (
        MODEL, {}, {"inputs_embeds": np.ones((2, 5, 24), np.int64)}, r"inputs_embeds holds .*expected floats", False,
    ),
    "a label for each token": (
        SEQUENCE, {}, {"input_ids": IDS, "labels": IDS}, r"labels are integers of shape \[2, 5\].*multi_label", False,
    ),
    "too few labels": (
        SEQUENCE, {}, {"input_ids": IDS, "labels": np.array([1])},
        r"labels has shape \[1\], expected \[2\]", False,
    ),
    "label beyond the classes": (
        SEQUENCE, {}, {"input_ids": IDS, "labels": np.array([0, 3])},
        r"labels holds a value outside 0\.\.2 .*num_labels", True,
    ),
    "soft labels of other width": (
        SEQUENCE, {}, {"input_ids": IDS, "labels": np.ones((2, 4), np.float32)},
        r"labels has shape \[2, 4\], expected \[2, 3\]",
        False,
    ),
    "floats for a named single label": (
        SEQUENCE, {"problem_type": "single_label_classification"}, {"input_ids": IDS, "labels": np.ones(2, np.float32)},
        "labels holds floats, expected integers", False,
    ),
    "one label where there are several": (
        SEQUENCE, {"problem_type": "multi_label_classification"}, {"input_ids": IDS, "labels": np.ones(2, np.float32)},
        r"labels has shape \[2\], expected \[2, 3\]", False,
    ),
    "regression of another width": (
        SEQUENCE, {"problem_type": "regression"}, {"input_ids": IDS, "labels": np.ones((2, 2), np.float32)},
        r"labels has shape \[2, 2\], expected \[2, 3\]", False,
    ),
    "a label for each text": (
        TOKEN, {}, {"input_ids": IDS, "labels": np.ones(2, np.int64)},
        r"labels has shape \[2\], expected \[2, 5\]", False,
    ),
    "-1 for a token": (
        TOKEN, {}, {"input_ids": IDS, "labels": ids(-1)},
        r"labels holds a value outside 0\.\.2 \(and not -100", True,
    ),
    "floats for tokens": (
        TOKEN, {}, {"input_ids": IDS, "labels": IDS.astype(np.float32)}, "labels holds floats, expected integers",
        False,
    ),
    "word beyond the vocabulary": (
        WORD, {}, {"input_ids": IDS, "labels": ids(53)},
        r"labels holds a value outside 0\.\.52", True,
    ),
    "start without end": (
        ANSWER, {}, {"input_ids": IDS, "start_positions": np.array([1, 2])},
        "got start_positions without end_positions, expected both or neither", False,
    ),
    "end without start": (
        ANSWER, {}, {"input_ids": IDS, "end_positions": np.array([1, 2])}, "got end_positions without start_positions",
        False,
    ),
    "positions of each token": (
        ANSWER, {}, {"input_ids": IDS, "start_positions": IDS, "end_positions": IDS},
        r"start_positions has shape \[2, 5\]", False,
    ),
    "choices without their axis": (
        CHOICE, {}, {"input_ids": IDS}, r"input_ids has shape \[2, 5\], expected \[batch, choices, length\]", False,
    ),
    "embeds without the axis of choices": (
        CHOICE, {}, {"inputs_embeds": np.zeros((2, 5, 24), np.float32)},
        r"inputs_embeds has shape \[2, 5, 24\], expected \[batch, choices, length, width\]", False,
    ),
    "no choices at all": (CHOICE, {}, {}, "got neither", False),
    "choice beyond the choices": (
        CHOICE, {}, {"input_ids": np.ones((2, 3, 5), np.int64), "labels": np.array([0, 3])},
        r"labels holds a value outside 0\.\.2", True,
    ),
    "unfit mask of choices": (
        CHOICE, {}, {"input_ids": np.ones((2, 3, 5), np.int64), "attention_mask": IDS},
        r"attention_mask has shape \[2, 5\]", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("framework", ["pt", "tf", "tf graph"])
@pytest.mark.parametrize("row", ROWS)
def test_refused(framework, row):
    pytest.importorskip("torch" if framework == "pt" else "tensorflow")
    head, changes, inputs, text, by_value = ROWS[row]
    config, error = small_config("v3", **changes), ValueError
    if framework == "pt":
        model, given = pt_model(config, head), pt_inputs(inputs)

        def run():
            model(**given)
    else:
        import tensorflow as tf

        model, given = tf_model(config, head), tf_inputs(inputs)

        def run():
            model(**given)

        if framework == "tf graph":
            run = tf.function(run, autograph=False)
            error = tf.errors.InvalidArgumentError if by_value else ValueError
    with pytest.raises(error, match=re.compile(text, re.DOTALL)):
        run()


@pytest.mark.parametrize("row", [row for row, (_, _, inputs, *_) in ROWS.items() if not LABELS & inputs.keys()])
def test_nothing_was_computed(row):
    """The refusal comes before the first layer runs; labels are compared with logits, which takes them first."""
    pytest.importorskip("torch")
    head, changes, inputs, _, _ = ROWS[row]
    model = pt_model(small_config("v3", **changes), head)
    model.get_input_embeddings().register_forward_hook(lambda *_: pytest.fail("the embeddings ran"))
    with pytest.raises(ValueError, match=r"\w"):
        model(**pt_inputs(inputs))


@pytest.mark.parametrize("shape", [(None, None), (2, None)])
def test_shapes_in_a_graph_of_unknown_length(shape):
    """A size that is unknown while the graph is traced fits anything."""
    tf = pytest.importorskip("tensorflow")
    model = tf_model(small_config("v2"), SEQUENCE)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.int64)] * 2, autograph=False)
    def run(ids, mask):
        return model(ids, attention_mask=mask).logits

    assert run(IDS, IDS).shape == (2, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"outside 0\.\.52"):
        run(ids(99), IDS)


@pytest.mark.parametrize("form", [(4, 1, 1, 5), (4, 5, 5), (4, 1, 5, 5)])
def test_masks_in_a_graph_that_serves_all_forms_of_a_rank(form):
    """Whether one row stands for all queries is known when the graph runs; the convolution of v2 wants to know."""
    tf = pytest.importorskip("tensorflow")
    model = tf_model(small_config("v2"), "Model")
    shown = np.random.default_rng(2).random(form) < 0.6
    shapes = ([None, None], [None] * len(form))

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.int64) for shape in shapes], autograph=False)
    def run(ids, mask):
        return model(ids, attention_mask=mask).last_hidden_state

    given = tf.constant(np.random.default_rng(1).integers(3, 50, (4, 5))), tf.constant(shown, tf.int64)
    assert_close(run(*given), model(given[0], attention_mask=given[1]).last_hidden_state, "states")


def test_too_many_tokens_in_a_graph_of_unknown_length():
    """On a GPU TensorFlow reads zeros beyond the end of a table."""
    tf = pytest.importorskip("tensorflow")
    model = tf_model(small_config("v1", position_biased_input=True), "Model")
    run = tf.function(lambda ids: model(ids).last_hidden_state, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    most = model.config.max_position_embeddings
    assert run(tf.ones([1, most], tf.int32)).shape[1] == most
    with pytest.raises(tf.errors.InvalidArgumentError, match="more tokens than fit, but the table of absol"):
        run(tf.ones([1, most + 1], tf.int32))


@pytest.mark.parametrize("base", BASES)
def test_ids_of_other_integer_types(base):
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    config = small_config(base, type_vocab_size=2)
    inputs = random_inputs(config, SEQUENCE)
    want = None
    for kind in ("int64", "int32", "int8", "uint8", "int16", "uint16", "uint32", "uint64"):
        signed = {k: v.astype("int8" if kind == "int8" else "int64") for k, v in inputs.items()}
        given = {k: v if k == "labels" and kind[0] == "u" else v.astype(kind) for k, v in signed.items()}  # -100 is one
        first = pt_model(config, SEQUENCE)(**pt_inputs(given))
        second = tf_model(config, SEQUENCE)(tf_inputs(given))
        want = first.logits if want is None else want
        assert torch.equal(first.logits, want)
        assert np.abs(second.logits.numpy() - want.detach().numpy()).max() < 1e-4
        assert tf.is_tensor(second.loss)


def test_lists_arrays_truth_values_and_halves():
    """Whatever says the same gives the same; what is a mistake is named in one sentence."""
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    config = small_config("v3", type_vocab_size=2, num_labels=2)
    model, twin = pt_model(config, SEQUENCE), tf_model(config, SEQUENCE)
    mask, types, labels = np.array([[1, 1, 1], [1, 1, 0]]), np.array([[0, 1, 1], [0, 0, 1]]), np.array([1, 0])
    given = {"input_ids": np.array([[1, 2, 3], [4, 5, 0]]), "attention_mask": mask, "token_type_ids": types}
    want = model(**pt_inputs({**given, "labels": labels}))
    for kind in (np.ndarray.tolist, np.array):
        lists = {name: kind(x) for name, x in {**given, "labels": labels}.items()}
        assert torch.equal(model(**lists).loss, want.loss)
        assert float(twin(**lists).loss) == pytest.approx(float(want.loss), rel=1e-5)
    truths = {"attention_mask": mask > 0, "token_type_ids": types > 0, "labels": labels > 0}
    assert torch.equal(model(**pt_inputs({**given, **truths})).loss, want.loss)
    assert float(twin(tf_inputs({**given, **truths})).loss) == pytest.approx(float(want.loss), rel=1e-5)
    for run, tensors in ((model, pt_inputs), (twin, tf_inputs)):
        with pytest.raises(ValueError, match="input_ids holds truth values, expected integers"):
            run(**tensors({"input_ids": mask > 0}))
    embeds = np.random.default_rng(0).normal(size=(2, 3, 24)).astype(np.float16)
    for dtype in ("float16", "float64"):
        exact, other = (pt_inputs({"inputs_embeds": embeds.astype(d)}) for d in ("float32", dtype))
        assert torch.equal(model(**other).logits, model(**exact).logits)
        twins = twin(tf_inputs({"inputs_embeds": embeds.astype(dtype)})).logits.numpy()
        assert np.abs(twins - model(**exact).logits.detach().numpy()).max() < 1e-2  # tf computes in the dtype given


@pytest.mark.parametrize("head", [SEQUENCE, CHOICE, WORD, "ForReplacedTokenDetection"])
def test_masks_in_lists_go_where_the_model_is(head, monkeypatch):
    """Heads read the mask, too: theirs stayed on the CPU. Checks of values, which wait for a device, are left out."""
    torch = pytest.importorskip("torch")
    changes = {"mlm_head": "emd"} if head == WORD else {"pooled_row": "first_visible"}
    model = pt_model(small_config("v3", **changes), head).to("meta")
    axes = (1, 2, 5) if head == CHOICE else (2, 5)
    ids = torch.ones(axes, dtype=torch.int64, device="meta")
    monkeypatch.setattr(torch._C, "_get_tracing_state", lambda: True)
    assert model(ids, attention_mask=np.tri(2, 5, 3, int).reshape(axes).tolist()).logits.is_meta


@pytest.mark.parametrize("kind", ["list", "int16"])
def test_positions_of_words_that_are_no_long_tensor(kind):
    """The enhanced mask decoder looks them up once more."""
    torch = pytest.importorskip("torch")
    model = pt_model(small_config("v3", mlm_head="emd"), WORD)
    positions = np.array([[0, 1, 2, 4, 3], [4, 3, 2, 1, 0]])
    given = positions.tolist() if kind == "list" else torch.tensor(positions, dtype=torch.int16)
    want = model(torch.tensor(IDS), position_ids=torch.tensor(positions)).logits
    assert torch.equal(model(torch.tensor(IDS), position_ids=given).logits, want)


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "labels"])
def test_tensors_of_the_other_framework(name):
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    config = small_config("v3")
    given = {"input_ids": IDS, "attention_mask": np.ones_like(IDS), "labels": np.zeros(len(IDS), np.int64)}
    with pytest.raises(TypeError, match=f"{name} is a PyTorch tensor, expected one of TensorFlow"):
        tf_model(config, SEQUENCE)(**{**tf_inputs(given), name: torch.tensor(given[name])})
    with pytest.raises(TypeError, match=f"{name} is a tensor of TensorFlow, expected one of PyTorch"):
        pt_model(config, SEQUENCE)(**{**pt_inputs(given), name: tf.constant(given[name])})


def test_tensors_of_the_other_framework_in_lists():
    """They were told to pad."""
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    config = small_config("v3")
    with pytest.raises(TypeError, match="input_ids is a PyTorch tensor, expected one of TensorFlow"):
        tf_model(config, SEQUENCE)(input_ids=[torch.tensor(row) for row in IDS])
    with pytest.raises(TypeError, match="input_ids is a tensor of TensorFlow, expected one of PyTorch"):
        pt_model(config, SEQUENCE)(input_ids=[tf.constant(row) for row in IDS])


@pytest.mark.parametrize("head", [SEQUENCE, CHOICE])
def test_tensors_in_lists_and_lists_by_place(head):
    """Lists of rows were refused by PyTorch, and read as several inputs by TensorFlow."""
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    rows = IDS if head == SEQUENCE else IDS[:, None].repeat(2, 1)
    model, twin = pt_model(small_config("v1"), head), tf_model(small_config("v1"), head)
    want = model(torch.tensor(rows)).logits
    for given in ([torch.tensor(row) for row in rows], list(rows), rows.tolist()):
        assert torch.equal(model(given).logits, want)
    lists = [[tf.constant(row) for row in rows], list(rows), rows.tolist(), tuple(map(tuple, rows.tolist()))]
    for given in lists:
        found = twin(given) if head == SEQUENCE else twin(input_ids=given)
        assert_close(found.logits.numpy(), want.detach().numpy(), "logits")
        assert twin(input_ids=given, attention_mask=np.ones_like(rows).tolist()).logits.shape == want.shape
    if head == SEQUENCE:
        found = twin(rows.tolist(), attention_mask=np.ones_like(rows))
        assert_close(found.logits.numpy(), want.detach().numpy(), "mask")
    uneven = [torch.tensor([1, 2]), torch.tensor([3])]
    with pytest.raises(ValueError, match=r"input_ids is no array of numbers .* pad them"):
        model(uneven)


def test_texts_and_gaps_in_the_place_of_ids():
    """Errors of the frameworks' insides, or the advice to pad."""
    pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    for model in (pt_model(small_config("v3"), SEQUENCE), tf_model(small_config("v3"), SEQUENCE)):
        for given in ("a text", ["a text"], [["a", "b"]], np.array(["a text"])):
            with pytest.raises(ValueError, match="input_ids holds texts, expected token ids: call the tokenizer first"):
                model(input_ids=given)
        with pytest.raises(ValueError, match="input_ids is no array of numbers"):
            model(input_ids=[[1, None]])


def test_nested_and_sparse_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    rows = [torch.tensor([1, 2]), torch.tensor([3])]
    for head in (SEQUENCE, CHOICE, WORD):
        model = pt_model(small_config("v3"), head)
        for layout in (torch.strided, torch.jagged):
            with pytest.raises(ValueError, match="input_ids is a nested tensor, expected a dense one: pad it"):
                model(torch.nested.nested_tensor(rows, layout=layout))
        with pytest.raises(ValueError, match=r"input_ids is a sparse tensor, expected a dense one: pad it \(to_dense"):
            model(torch.tensor(IDS).to_sparse())


def test_ragged_and_sparse_tensors():
    tf = pytest.importorskip("tensorflow")
    model, ragged = tf_model(small_config("v3"), SEQUENCE), tf.ragged.constant([[1, 2], [3]])
    for given in (ragged, {"input_ids": ragged}, {"input_ids": tf.sparse.from_dense(IDS)}):
        with pytest.raises(ValueError, match=r"input_ids is a (Ragged|Sparse) tensor, expected a dense one: pad it"):
            model(given)


def test_rows_of_several_lengths():
    """In lists and arrays of lists they are told what to do, as ragged tensors are."""
    pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    config, rows = small_config("v3"), [[1, 2], [3]]
    for model in (pt_model(config, SEQUENCE), tf_model(config, SEQUENCE)):
        for given in (rows, np.array(rows, dtype=object)):
            with pytest.raises(ValueError, match=r"input_ids is no array .* rows of one length: pad them"):
                model(input_ids=given)


CALLS = {
    "unknown name": ({"input_idz": IDS}, "unknown input 'input_idz'; did you mean 'input_ids'"),
    "label for labels": ({"input_ids": IDS, "label": IDS}, "unknown input 'label'; did you mean 'labels'"),
}


@pytest.mark.parametrize("call", CALLS)
def test_unknown_inputs_of_tensorflow(call):
    tf = pytest.importorskip("tensorflow")
    given, text = CALLS[call]
    model = tf_model(small_config("v3"), SEQUENCE)
    for way in (lambda: model(tf_inputs(given)), lambda: model(**tf_inputs(given))):
        with pytest.raises(TypeError, match=re.escape(text)):
            way()
    with pytest.raises(TypeError, match="'attention_mask' is given twice"):
        model({"input_ids": tf.constant(IDS), "attention_mask": tf.constant(IDS)}, attention_mask=tf.constant(IDS))
    with pytest.raises(TypeError, match=r"expected at most \d+"):
        model([tf.constant(IDS)] * 20, *[tf.constant(IDS)] * 20)


def test_ways_to_give_inputs_to_tensorflow():
    tf = pytest.importorskip("tensorflow")
    config = small_config("v3", type_vocab_size=2)
    model = tf_model(config, SEQUENCE)
    given = {k: v for k, v in tf_inputs(random_inputs(config, SEQUENCE)).items() if k != "labels"}
    names = ("input_ids", "attention_mask", "token_type_ids")
    want = model(**given).logits.numpy()
    in_order = [given[name] for name in names]
    for way in (
        lambda: model(given), lambda: model(in_order), lambda: model(tuple(in_order)), lambda: model(*in_order),
        lambda: model(in_order[0], attention_mask=in_order[1], token_type_ids=in_order[2]),
        lambda: model({k: v.numpy() for k, v in given.items()}),
        lambda: model({**given, "labels": None, "position_ids": None}),
    ):  # fmt: skip
        assert np.array_equal(way().logits.numpy(), want)
    only = model(given["input_ids"]).logits.numpy()
    for way in (lambda: model([given["input_ids"]]), lambda: model(input_ids=given["input_ids"])):
        assert np.array_equal(way().logits.numpy(), only)
    assert tf.nest.flatten(model(given, return_dict=False))[0].shape == want.shape


@pytest.mark.parametrize("multiple", [0, -8, 1.5])
@pytest.mark.parametrize("make", [pt_model, tf_model], ids=["pt", "tf"])
def test_a_vocabulary_is_rounded_up_to_whole_rows(make, multiple):
    model = make(small_config("v3"), MODEL)
    with pytest.raises(ValueError, match=f"pad_to_multiple_of is {multiple}, expected a whole number of at least 1"):
        model.resize_token_embeddings(pad_to_multiple_of=multiple)
