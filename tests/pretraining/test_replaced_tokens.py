"""Generator and discriminator together: labels, gradients under each kind of sharing, sampling, saving, parity."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from deberta_core.checkpoint import open_weights
from deberta_core.folder import generator_paths
from deberta_core.loading import read_tensor
from deberta_core.pretraining import generator_config
from deberta_core.weight_names import published_key
from tests.models.helpers import pt_inputs, pt_model, random_weights, small_config, tf_inputs, tf_model
from tests.pretraining.pairs import (
    DISCRIMINATOR,
    GENERATOR,
    IGNORED,
    batch_of,
    configs,
    numpy,
    pair,
    run,
    wrapper,
)

MODULES = {"pt": "torch", "tf": "tensorflow"}
PADDING = 0  # id of [PAD], whose row is a constant


@pytest.fixture(params=["pt", "tf"])
def framework(request):
    pytest.importorskip(MODULES[request.param])
    return request.param


def gradients(model, arrays, entry):
    """Gradient of one loss by the variable's object id; zero where there is none."""
    if hasattr(model, "state_dict"):
        model.zero_grad(set_to_none=True)
        run(model, arrays)[entry].backward()
        return {id(p): np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy() for p in model.parameters()}
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model(tf_inputs(arrays))[entry]
    weights = model.trainable_weights
    found = tape.gradient(loss, weights, unconnected_gradients="zero")
    return {id(v): tf.convert_to_tensor(g).numpy() for v, g in zip(weights, found, strict=True)}


def value(scalar):
    """A scalar of either framework."""
    return float(numpy(scalar))


def word_table(model):
    """The trained part of a model's word table."""
    table = model.deberta.embeddings.word_embeddings
    own = vars(table).get("_parameters", {}) if hasattr(model, "state_dict") else vars(table)
    return next(own[name] for name in ("_weight", "delta", "weight", "embeddings") if name in own)


def all_weights(model):
    return list(model.parameters()) if hasattr(model, "state_dict") else list(model.trainable_weights)


def test_corrupted_ids_and_labels(framework):
    """A token counts as replaced if it is a target and not the original; a hit of the generator is an original."""
    model = pair(framework)
    arrays = batch_of(model.discriminator.config, noise=False)
    targets = arrays["labels"] != IGNORED
    hits = targets & (np.cumsum(targets, -1) % 2 == 0)
    arrays["sampled_ids"] = np.where(hits, arrays["labels"], (arrays["labels"] + 1) % 50 + 3)
    output = run(model, arrays)
    want = np.where(targets, arrays["sampled_ids"], arrays["input_ids"])
    assert (numpy(output.corrupted_ids) == want).all()
    assert (numpy(output.replaced) == (targets & ~hits & (want != arrays["labels"]))).all()
    assert hits.sum() > 3 < numpy(output.replaced).sum()


def test_losses_are_those_of_the_two_models(framework):
    model = pair(framework, rtd_lambda=7.0, embedding_sharing="none")
    arrays = batch_of(model.discriminator.config)
    output = run(model, arrays)
    named = {name: arrays[name] for name in ("input_ids", "labels", "attention_mask")}
    tensors = pt_inputs if framework == "pt" else tf_inputs
    alone = model.generator(**tensors(named))
    judged = model.discriminator(
        output.corrupted_ids, labels=output.replaced, attention_mask=tensors(named)["attention_mask"]
    )
    assert value(output.mlm_loss) == pytest.approx(value(alone.loss), rel=1e-6)
    assert value(output.rtd_loss) == pytest.approx(value(judged.loss), rel=1e-6)
    assert value(output.loss) == pytest.approx(value(alone.loss) + 7 * value(judged.loss), rel=1e-6)
    assert (numpy(output.logits) == numpy(judged.logits)).all()


def test_gradient_disentangled_sharing(framework):
    """The discriminator's loss: exactly nothing to the generator, something to the difference of the tables."""
    model = pair(framework)
    arrays = batch_of(model.discriminator.config)
    found = gradients(model, arrays, "rtd_loss")
    for weight in all_weights(model.generator):
        assert not found[id(weight)].any()
    delta = found[id(word_table(model.discriminator))]
    assert np.abs(delta).max() > 1e-6
    assert not delta[PADDING].any(), "the row of padding is a constant"
    joint, alone = gradients(model, arrays, "loss"), gradients(model, arrays, "mlm_loss")
    for weight in all_weights(model.generator):
        assert (joint[id(weight)] == alone[id(weight)]).all()
    assert np.abs(joint[id(word_table(model.generator))]).max() > 1e-6


def test_plain_sharing(framework):
    """One table: both losses reach it."""
    model = pair(framework, embedding_sharing="es")
    assert word_table(model.generator) is word_table(model.discriminator)
    arrays = batch_of(model.discriminator.config)
    table = id(word_table(model.generator))
    by_loss = {name: gradients(model, arrays, name)[table] for name in ("mlm_loss", "rtd_loss", "loss")}
    assert all(np.abs(g).max() > 1e-6 for g in by_loss.values())
    want = by_loss["mlm_loss"] + model.rtd_lambda * by_loss["rtd_loss"]
    assert np.abs(by_loss["loss"] - want).max() < 1e-5 * np.abs(want).max()


def test_no_sharing(framework):
    model = pair(framework, embedding_sharing="none")
    found = gradients(model, batch_of(model.discriminator.config), "rtd_loss")
    assert not any(found[id(w)].any() for w in all_weights(model.generator))
    assert np.abs(found[id(word_table(model.discriminator))]).max() > 1e-6
    assert not (numpy(word_table(model.discriminator)) == numpy(word_table(model.generator))).all()


def test_the_difference_gets_the_gradient_of_the_table(framework):
    """With a zero difference it is what an unshared discriminator with the generator's table would get."""
    shared = pair(framework)
    alone = pair(framework, embedding_sharing="none")
    source = numpy(word_table(shared.generator))
    if framework == "pt":
        import torch

        with torch.no_grad():
            word_table(alone.discriminator).copy_(torch.from_numpy(source))
    else:
        word_table(alone.discriminator).assign(source)
    arrays = batch_of(shared.discriminator.config)
    got = gradients(shared, arrays, "rtd_loss")[id(word_table(shared.discriminator))]
    want = gradients(alone, arrays, "rtd_loss")[id(word_table(alone.discriminator))]
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()


@pytest.mark.parametrize("base", ["v1", "v2"])
def test_other_families_and_tables(framework, base):
    """Position and type tables that both have are shared too."""
    model = pair(framework, base, changes={"position_biased_input": True, "type_vocab_size": 2})
    output = run(model, batch_of(model.discriminator.config))
    assert np.isfinite(value(output.loss))
    embeddings = model.discriminator.deberta.embeddings
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        assert type(getattr(embeddings, name)).__name__ == "DisentangledEmbedding"


def test_sampling_follows_the_predictions(framework):
    """Frequencies of 20,000 draws, at two temperatures, within five standard errors; ends of the interval exist."""
    logits = np.tile(np.array([0.0, 1.0, -2.0, 0.5, -50.0], np.float32), (20000, 1))
    noise = np.random.default_rng(0).random(20000, np.float32)
    for temperature in (1.0, 0.5):
        shares = np.exp(logits[0] / temperature) / np.exp(logits[0] / temperature).sum()
        found = np.bincount(draw(framework, logits, noise, temperature), minlength=5) / 20000
        assert (np.abs(found - shares) <= 5 * np.sqrt(shares * (1 - shares) / 20000) + 1e-12).all()
    ends = np.array([0.0, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    assert draw(framework, logits[:2], ends, 1.0).tolist() == [0, 3]


def draw(framework, logits, noise, temperature):
    if framework == "pt":
        import torch

        from deberta_pt.pretraining import sample

        return sample(torch.from_numpy(logits), torch.from_numpy(noise), temperature).numpy()
    import tensorflow as tf

    from deberta_tf.pretraining import sample

    return sample(tf.constant(logits), tf.constant(noise), temperature).numpy()


def test_samples_are_seeded_and_resumed(framework, tmp_path):
    """The same seed samples the same; a saved state goes on with the next draw."""
    arrays = batch_of(configs()[1], noise=False)
    first, second = pair(framework, seed=7), pair(framework, seed=7)
    ids = [numpy(run(first, arrays).corrupted_ids) for _ in range(3)]
    assert (ids[0] == numpy(run(second, arrays).corrupted_ids)).all()
    assert (ids[0] != ids[1]).any()
    fresh = pair(framework, seed=8)
    if framework == "pt":
        run(second, arrays)
        fresh.load_state_dict(second.state_dict())
    else:
        import tensorflow as tf

        run(second, arrays)
        saved = tf.train.Checkpoint(model=second).write(str(tmp_path / "state"))
        tf.train.Checkpoint(model=fresh).read(saved).assert_consumed()
    assert (numpy(run(fresh, arrays).corrupted_ids) == ids[2]).all()


@pytest.mark.parametrize("sharing", ["gdes", "es", "none"])
def test_saved_discriminator_equals_the_live_one(framework, sharing, tmp_path):
    """After training, as an ordinary checkpoint in either framework; the generator beside it."""
    model = pair(framework, embedding_sharing=sharing)
    arrays = batch_of(model.discriminator.config)
    train(model, arrays, 3, decoupled=False)
    if framework == "pt":
        model.eval()
    live = run(model, arrays)
    model.save_pretrained(tmp_path)
    named = {"input_ids": numpy(live.corrupted_ids), "attention_mask": arrays["attention_mask"]}
    masked = {"input_ids": arrays["input_ids"], "attention_mask": arrays["attention_mask"]}
    words = numpy(live.generator_logits)
    for other in ("pt", "tf"):
        pytest.importorskip(MODULES[other])
        judge, writer = load_both(other, tmp_path)
        tensors = pt_inputs if other == "pt" else tf_inputs
        got = numpy(judge(**tensors(named)).logits)
        written = numpy(writer(**tensors(masked)).logits)[arrays["labels"] != IGNORED]
        if other == framework:
            assert (got == numpy(live.logits)).all()
        assert np.abs(got - numpy(live.logits)).max() <= 1e-5 * np.abs(got).max()
        assert np.abs(written - words).max() <= 1e-5 * np.abs(words).max()


def load_both(framework, path):
    if framework == "pt":
        from deberta_pt import AutoModelForMaskedLM as Writer
        from deberta_pt import AutoModelForReplacedTokenDetection as Judge
    else:
        from deberta_tf import TFAutoModelForMaskedLM as Writer
        from deberta_tf import TFAutoModelForReplacedTokenDetection as Judge
    return Judge.from_pretrained(path), Writer.from_pretrained(path, generator=True)


def published(folder, generator=True):
    """A folder as the published ones: both models in PyTorch's own format."""
    pytest.importorskip("torch")
    writer, judge = configs()
    model = pt_model(judge, DISCRIMINATOR, random_weights(judge, DISCRIMINATOR, seed=4))
    model.save_pretrained(folder, safe_serialization=False)
    if generator:
        other = pt_model(writer, GENERATOR, random_weights(writer, GENERATOR, seed=3))
        other.save_pretrained(folder / "made", safe_serialization=False)
        (folder / "made" / "pytorch_model.bin").rename(folder / "pytorch_model.generator.bin")
        (folder / "made" / "config.json").rename(folder / "generator_config.json")
    return model


def test_goes_on_from_published_files(framework, tmp_path):
    """The discriminator computes what its file does, although its table now is a sum."""
    source = published(tmp_path)
    model = wrapper(framework).from_pretrained(tmp_path)
    assert generator_paths(tmp_path, "")[1].name == "pytorch_model.generator.bin"
    arrays = batch_of(source.config)
    output = run(model, arrays)
    named = {"input_ids": numpy(output.corrupted_ids), "attention_mask": arrays["attention_mask"]}
    want = numpy(source(**pt_inputs(named)).logits)
    assert np.abs(numpy(output.logits) - want).max() <= 1e-5 * np.abs(want).max()
    assert model.generator.kind == "emd"
    start = value(output.loss)
    train(model, arrays, 10, decoupled=False)
    assert value(run(model, arrays).loss) < start


def test_what_published_files_hold_beside_the_model_is_kept(framework, tmp_path):
    """Head and table of the generator's kind are written back; the old difference of the tables, now wrong, is not."""
    source = published(tmp_path)
    torch = pytest.importorskip("torch")
    head = random_weights(configs()[0], GENERATOR, seed=8)
    kept = {k: v for k, v in head.items() if k.startswith("lm_predictions.") or "position_embeddings" in k}
    extra = {**kept, "deberta.embeddings.word_embeddings._weight": np.ones((source.config.vocab_size, 24))}
    tensors = {k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in extra.items()}
    source.save_pretrained(tmp_path, safe_serialization=False, state_dict={**source.state_dict(), **tensors})
    model = wrapper(framework).from_pretrained(tmp_path)
    train(model, batch_of(source.config), 1, decoupled=False)
    model.save_pretrained(tmp_path / "saved")
    with open_weights(tmp_path / "saved") as file:
        found = {published_key(n, naming=file.naming, family="deberta-v2"): read_tensor(file, n) for n in file.tensors}
        for key, value in kept.items():
            assert (found[key] == value.astype(np.float32)).all(), key
        assert not [key for key in found if key.endswith("._weight")]
        table = numpy(model.discriminator.deberta.embeddings.word_embeddings.weight) if framework == "pt" else numpy(
            model.discriminator.deberta.embeddings.word_embeddings.embeddings
        )  # fmt: skip
        assert (found["deberta.embeddings.word_embeddings.weight"] == table).all()


def test_a_copy_is_of_its_own():
    """Both models copied together: the copy's tables are sums of the copy's own."""
    torch = pytest.importorskip("torch")
    model = pair("pt")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.generator.deberta.embeddings.word_embeddings.weight.zero_()
    assert not other.discriminator.deberta.embeddings.word_embeddings.weight.any()
    assert model.discriminator.deberta.embeddings.word_embeddings.weight.any()


def test_goes_on_from_the_discriminator_alone(framework, tmp_path):
    source = published(tmp_path, generator=False)
    with pytest.warns(UserWarning, match=r"a new one starts with the discriminator's encoder.*lm_predictions"):
        model = wrapper(framework).from_pretrained(tmp_path)
    assert model.generator.config.num_hidden_layers == 1
    table = source.deberta.embeddings.word_embeddings.weight.detach().numpy()
    assert (numpy(word_table(model.generator)) == table).all()
    assert not numpy(word_table(model.discriminator)).any(), "equal tables have no difference"
    arrays = batch_of(source.config)
    output = run(model, arrays)
    named = {"input_ids": numpy(output.corrupted_ids), "attention_mask": arrays["attention_mask"]}
    want = numpy(source(**pt_inputs(named)).logits)
    assert np.abs(numpy(output.logits) - want).max() <= 1e-5 * np.abs(want).max()


# Training.

STEPS, RATE, MOMENTUM = 20, 0.02, 0.9


def optimisers(model, decoupled):
    """Gradient descent with momentum, whose rule the two frameworks share to the letter."""
    if hasattr(model, "state_dict"):
        import torch

        def make(parameters):
            return torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM)

        if decoupled:
            return make(model.generator_parameters()), make(model.discriminator_parameters())
        return (make(list(model.parameters())),)
    import tf_keras

    return tuple(tf_keras.optimizers.SGD(RATE, momentum=MOMENTUM) for _ in range(1 + decoupled))


def train(model, arrays, steps, *, decoupled):
    """Losses of so many steps; ``arrays`` is a batch, or one for each step."""
    made = optimisers(model, decoupled)
    step = model.decoupled_step if decoupled else model.joint_step
    tensors = tf_inputs
    if hasattr(model, "state_dict"):
        model.train()
        tensors = pt_inputs
    else:
        import tensorflow as tf

        for optimizer, weights in zip(
            made,
            (model.generator_parameters(), model.discriminator_parameters()) if decoupled else (all_weights(model),),
            strict=True,
        ):
            optimizer.build(weights)
        step = tf.function(lambda *args, run=step: dict(run(*made, args[0])))
    losses = []
    for number in range(steps):
        batch = tensors(arrays[number] if isinstance(arrays, list) else arrays)
        output = step(*made, batch) if hasattr(model, "state_dict") else step(batch)
        losses.append([value(output[name]) for name in ("mlm_loss", "rtd_loss", "loss")])
    return np.array(losses)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("sharing", "decoupled"),
    [("gdes", True), *(pytest.param(*case, marks=SLOW) for case in (("gdes", False), ("es", False), ("es", True)))],
)
def test_both_frameworks_learn_alike(sharing, decoupled):
    """20 steps from the same start, data and noise: losses within 1e-5, and they fall."""
    for name in MODULES.values():
        pytest.importorskip(name)
    batches = [batch_of(configs()[1], seed) for seed in range(4)] * 5
    losses = {
        name: train(pair(name, embedding_sharing=sharing, rtd_lambda=5.0), batches, STEPS, decoupled=decoupled)
        for name in ("pt", "tf")
    }
    assert np.abs(losses["pt"] - losses["tf"]).max() <= 1e-5 * np.abs(losses["pt"]).max()
    assert (losses["pt"][-4:].mean(0) < losses["pt"][:4].mean(0)).all()


def test_masked_words_alone_are_learnt_alike():
    """The masked-LM model with the enhanced mask decoder, 20 steps, only the targets decoded."""
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    import tf_keras

    config = configs()[0]
    values = random_weights(config, GENERATOR, seed=3, spread=0.1)
    batches = [batch_of(config, seed, noise=False) for seed in range(4)] * 5
    model = pt_model(config, GENERATOR, values).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    got = []
    for arrays in batches:
        optimizer.zero_grad()
        loss = model(**pt_inputs(arrays), only_masked=True).loss
        loss.backward()
        optimizer.step()
        got.append(float(loss.detach()))
    twin, rule = tf_model(config, GENERATOR, values), tf_keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    rule.build(twin.trainable_weights)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = twin(batch, only_masked=True, training=True).loss
        rule.minimize(loss, twin.trainable_weights, tape)
        return loss

    want = [float(step(tf_inputs(arrays))) for arrays in batches]
    assert np.abs(np.array(got) - want).max() <= 1e-5 * max(want)
    assert got[-1] < got[0]


def test_decoupled_steps_leave_the_other_model_alone(framework):
    """The generator moves as if there were no discriminator."""
    arrays = batch_of(configs()[1])
    one, other = pair(framework, rtd_lambda=0.0), pair(framework, rtd_lambda=50.0)
    before = [numpy(w).copy() for w in all_weights(one.generator)]
    train(one, arrays, 2, decoupled=True)
    train(other, arrays, 2, decoupled=True)
    after = [numpy(w) for w in all_weights(one.generator)]
    assert all((a == numpy(b)).all() for a, b in zip(after, all_weights(other.generator), strict=True))
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    assert numpy(word_table(other.discriminator)).any()
    assert not numpy(word_table(one.discriminator)).any(), "a weight of 0 trains nothing"


@SLOW
def test_keras_fit():
    tf = pytest.importorskip("tensorflow")
    import tf_keras

    model = pair("tf")
    data = tf.data.Dataset.from_tensors(batch_of(model.discriminator.config, noise=False)).repeat(15)
    model.compile(tf_keras.optimizers.Adam(1e-2), tf_keras.optimizers.Adam(1e-2))
    history = model.fit(data, epochs=2, verbose=0).history
    assert sorted(history) == ["loss", "mlm_loss", "rtd_loss"]
    assert history["mlm_loss"][1] < history["mlm_loss"][0]


def test_optimizers_of_another_keras():
    pytest.importorskip("tensorflow")
    adam = pytest.importorskip("keras").optimizers.Adam
    with pytest.raises(TypeError, match="discriminator_optimizer holds a Adam of Keras 3"):
        pair("tf").compile("adam", discriminator_optimizer=adam())


def test_small_gradients_in_float16():
    """Below 6e-8 float16 has nothing but zero; Keras' optimiser for it multiplies the loss before the backward pass."""
    pytest.importorskip("tensorflow")
    import tf_keras

    from deberta_tf.layers import policy

    with policy("mixed_float16"):
        model = pair("tf", rtd_lambda=1e-6)
    model.compile(tf_keras.optimizers.SGD(1.0), tf_keras.optimizers.SGD(1e6))
    inner = model.discriminator.deberta.encoder.layer[0].intermediate.dense.kernel
    before = inner.numpy()
    batch = tf_inputs(batch_of(model.discriminator.config))
    model.decoupled_step(model.optimizer, model.discriminator_optimizer, batch)
    assert (inner.numpy() != before).mean() > 0.9


def test_batch_without_targets(framework):
    """Nothing masked: a masked-LM loss of 0, and nothing replaced."""
    model = pair(framework)
    arrays = batch_of(model.discriminator.config)
    arrays["labels"][:] = IGNORED
    output = run(model, arrays)
    assert value(output.mlm_loss) == 0
    assert not numpy(output.replaced).any()
    assert (numpy(output.corrupted_ids) == arrays["input_ids"]).all()


# Errors.


def models_of(framework, generator, discriminator):
    make = pt_model if framework == "pt" else tf_model
    return make(generator, GENERATOR), make(discriminator, DISCRIMINATOR)


def test_models_that_do_not_fit(framework):
    config = small_config("v3")
    writer = generator_config(config, vocab_size=60)
    with pytest.raises(ValueError, match=r"vocabulary has 60 tokens, the discriminator's 53.*same tokenizer"):
        wrapper(framework)(*models_of(framework, writer, config))
    narrow = small_config("v3", embedding_size=12, mlm_head="plain")
    with pytest.raises(ValueError, match=r"a width of 12, the discriminator's of 24.*embedding_sharing='none'"):
        wrapper(framework)(*models_of(framework, narrow, config))
    wrapper(framework)(*models_of(framework, narrow, config), embedding_sharing="none")
    longer = generator_config(config, max_position_embeddings=32)
    with pytest.raises(ValueError, match="max_position_embeddings is 32 in the generator and 16 in the disc"):
        wrapper(framework)(*models_of(framework, longer, config))


def test_arguments_out_of_range(framework):
    with pytest.raises(ValueError, match="embedding_sharing is 'all', expected one of gdes, es, none"):
        pair(framework, embedding_sharing="all")
    with pytest.raises(ValueError, match=r"temperature is 0\.0, expected above 0"):
        pair(framework, temperature=0.0)
    with pytest.raises(ValueError, match=r"rtd_lambda is -1\.0"):
        pair(framework, rtd_lambda=-1.0)
    model = pair(framework)
    arrays = batch_of(model.discriminator.config)
    with pytest.raises(ValueError, match=r"noise has shape \[4, 3\], expected that of input_ids, \[4, 14\]"):
        run(model, {**arrays, "noise": arrays["noise"][:, :3]})
    with pytest.raises(ValueError, match=r"labels holds a value outside 0\.\.52"):
        run(model, {**arrays, "labels": np.where(arrays["labels"] > 0, 99, IGNORED)})


def test_labels_of_another_vocabulary_are_refused_at_the_masked_lm(framework):
    """A head is asked for words that its table does not have."""
    generator = configs()[0]
    model = (pt_model if framework == "pt" else tf_model)(generator, GENERATOR)
    arrays = {"input_ids": np.full((1, 4), 5), "labels": np.array([[IGNORED, 53, IGNORED, 7]])}
    with pytest.raises(ValueError, match=r"labels holds a value outside 0\.\.52"):
        model(**(pt_inputs if framework == "pt" else tf_inputs)(arrays))
