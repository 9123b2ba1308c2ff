"""The generator: Random123's known answers, and the same bits in NumPy, TensorFlow and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfpvae.random import numpy as reference

# From Random123's kat_vectors: threefry2x32, 20 rounds, as (counter, key, answer).
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]
INT64 = np.iinfo(np.int64)
EXTREMES = [
    0,
    1,
    -1,
    -5,
    2**31,
    2**32 - 1,
    2**32,
    -(2**31),
    -(2**32),
    -(2**32) - 1,
    INT64.max,
    INT64.min,
    INT64.min + 1,
]
SEEDS = np.concatenate(
    [
        np.array(EXTREMES, np.int64),
        np.random.default_rng(0).integers(INT64.min, INT64.max, 10_000 - len(EXTREMES), np.int64, endpoint=True),
    ]
)
SIZE = 7
"""Odd, so that the last cipher block is used by half."""

seeds = st.lists(st.integers(INT64.min, INT64.max), min_size=1, max_size=5)
streams = st.sampled_from([0, 1, 2, 2**32 - 1])


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_numpy_gives_random123s_known_answers(counter, key, answer):
    words = reference.threefry2x32(tuple(map(np.uint32, key)), tuple(map(np.uint32, counter)))
    assert tuple(int(word[0]) for word in words) == answer


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_tensorflow_gives_random123s_known_answers(counter, key, answer):
    import tensorflow as tf

    from tfpvae.random.tensorflow import threefry2x32

    def words(pair):
        return tuple(tf.constant(word, tf.int64) for word in pair)

    assert tuple(int(word) % 2**32 for word in threefry2x32(words(key), words(counter))) == answer


def threefry_by_the_book(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """The paper's rounds on Python's integers, which never overflow."""
    word = 2**32
    k = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x0, x1 = (counter[0] + k[0]) % word, (counter[1] + k[1]) % word
    for d in range(20):
        x0 = (x0 + x1) % word
        r = (13, 15, 26, 6, 17, 29, 16, 24)[d % 8]
        x1 = ((x1 << r) | (x1 >> (32 - r))) % word ^ x0
        if d % 4 == 3:
            s = (d + 1) // 4
            x0, x1 = (x0 + k[s % 3]) % word, (x1 + k[(s + 1) % 3] + s) % word
    return x0, x1


@given(seed=st.integers(INT64.min, INT64.max), stream=streams)
def test_a_seed_is_the_key_and_word_number_and_stream_the_counter(seed, stream):
    key = (seed % 2**64 % 2**32, seed % 2**64 // 2**32)
    expected = [word for block in range(2) for word in threefry_by_the_book(key, (block, stream))]
    assert reference.random_bits([seed], 4, stream)[0].tolist() == expected


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph in ONNX of `bits`, `uniform` and `normal` of the TensorFlow form."""
    import tensorflow as tf

    from tfpvae.export.endpoints import Endpoint
    from tfpvae.export.targets.onnx import write_onnx
    from tfpvae.random import tensorflow as form
    from tfpvae.signatures import Signature

    def outputs(seed):
        return {
            "bits": form.random_bits(seed, SIZE, 1),
            "uniform": form.uniform(seed, SIZE, 1),
            "normal": form.normal_from_uniform(form.uniform(seed, SIZE + 1, 1)),
        }

    path: Path = tmp_path_factory.mktemp("random") / "random.onnx"
    signature = Signature("random", ("seed",), ("bits", "uniform", "normal"), "")
    write_onnx(Endpoint(signature, outputs, (tf.TensorSpec([None], tf.int64, name="seed"),)), path)
    return path


@pytest.fixture(scope="module")
def onnx_runtime(graph):
    """The same in ONNX Runtime."""
    from tfpvae.export.targets.onnx import run_onnx

    return run_onnx(graph.parent)("random", {"seed": SEEDS})


@pytest.fixture(scope="module")
def tensorflow():
    """The same in TensorFlow."""
    import tensorflow as tf

    from tfpvae.random import tensorflow as form

    seed = tf.constant(SEEDS)
    return {
        "bits": form.random_bits(seed, SIZE, 1).numpy(),
        "uniform": form.uniform(seed, SIZE, 1).numpy(),
        "normal": form.normal_from_uniform(form.uniform(seed, SIZE + 1, 1)).numpy(),
    }


@pytest.mark.parametrize("runtime", ["tensorflow", "onnx_runtime"])
def test_bits_and_uniforms_of_ten_thousand_seeds_are_numpys_to_the_bit(runtime, request):
    got = request.getfixturevalue(runtime)
    np.testing.assert_array_equal(got["bits"], reference.random_bits(SEEDS, SIZE, 1).astype(np.int64))
    np.testing.assert_array_equal(got["uniform"], reference.uniform(SEEDS, SIZE, 1))
    assert got["uniform"].dtype == np.float32


@pytest.mark.parametrize("runtime", ["tensorflow", "onnx_runtime"])
def test_normals_of_ten_thousand_seeds_are_numpys_within_rounding(runtime, request):
    expected = reference.normal_from_uniform(reference.uniform(SEEDS, SIZE + 1, 1))
    np.testing.assert_allclose(request.getfixturevalue(runtime)["normal"], expected, rtol=0, atol=1e-6)


def test_halves_of_seeds_give_the_same_uniforms():
    """In int32 throughout, as in LiteRT."""
    import tensorflow as tf

    from tfpvae.random import tensorflow as form

    halves = tf.bitcast(tf.constant(SEEDS), tf.int32)
    np.testing.assert_array_equal(form.uniform(halves, SIZE, 1), reference.uniform(SEEDS, SIZE, 1))


def test_a_runtime_that_computes_int64_in_32_bits_gives_the_same_uniforms(graph):
    openvino = pytest.importorskip("openvino")
    seeds = np.random.default_rng(1).integers(-(2**31), 2**31, 10_000)
    seeds[:6] = [0, 1, -1, 2**31 - 1, -(2**31), 42]
    model = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_array_equal(model({"seed": seeds})["uniform"], reference.uniform(seeds, SIZE, 1))


def test_normals_are_box_muller_in_double_precision():
    u = reference.uniform(SEEDS[:1000], 6).astype(np.float64)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, 0::2])), 2 * np.pi * u[:, 1::2]
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(u.shape)
    np.testing.assert_allclose(reference.normal_from_uniform(u), expected, rtol=0, atol=3e-6)


def test_the_largest_uniform_gives_a_finite_normal():
    largest = np.float32(1 - 2.0**-24)
    normals = reference.normal_from_uniform([[largest, 0.0]])
    assert 5.76 < normals[0, 0] < 5.77


@given(seeds=seeds, size=st.integers(1, 12), more=st.integers(0, 6), stream=streams)
def test_the_first_words_do_not_depend_on_how_many_are_asked_for(seeds, size, more, stream):
    longer = reference.random_bits(seeds, size + more, stream)
    np.testing.assert_array_equal(longer[:, :size], reference.random_bits(seeds, size, stream))


@given(seeds=seeds, stream=streams)
def test_a_row_does_not_depend_on_the_other_rows(seeds, stream):
    together = reference.uniform(seeds, 5, stream)
    alone = np.concatenate([reference.uniform([seed], 5, stream) for seed in seeds])
    np.testing.assert_array_equal(together, alone)


def test_tensorflows_rows_and_prefixes_are_independent_too():
    import tensorflow as tf

    from tfpvae.random import tensorflow as form

    seed = tf.constant(SEEDS[:20])
    together = form.uniform(seed, 9).numpy()
    alone = np.concatenate([form.uniform(seed[i : i + 1], 4).numpy() for i in range(20)])
    np.testing.assert_array_equal(together[:, :4], alone)


def test_uniforms_are_multiples_of_two_to_the_minus_24_below_one():
    u = reference.uniform(SEEDS, 4)
    assert u.min() >= 0
    assert u.max() < 1
    scaled = u.astype(np.float64) * 2**24
    np.testing.assert_array_equal(scaled, scaled.round())
    # The last of the 24 bits is used, and evenly: 40,000 fair coins, three standard deviations.
    assert abs((scaled % 2).mean() - 0.5) < 3 * 0.5 / np.sqrt(u.size)


def test_streams_of_one_seed_differ():
    words = [reference.random_bits(SEEDS[:100], 6, stream) for stream in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not (words[a] == words[b]).any()


# What `ALGORITHM = "threefry2x32-20/v1"` stands for: the first four uniforms, times 2^24, by seed and stream. A change
# here changes the samples of every exported model, and is a new version of the algorithm.
GOLDEN_UNIFORMS = {
    (0, 0): [7020545, 10074702, 5279483, 12639807],
    (0, 1): [3628835, 13490965, 9663955, 3655162],
    (7, 0): [15241769, 12335955, 11581601, 5213075],
    (7, 2): [2395146, 12343350, 10310904, 10349477],
    (-5, 1): [10766908, 16587182, 6617780, 5161757],
    (2**63 - 1, 0): [11871764, 14223607, 5464055, 3741923],
    (-(2**63), 2): [3222024, 10365294, 3167369, 2083230],
}
GOLDEN_NORMALS = {
    (0, 0): [-0.8404423, -0.6146525, 0.0185219, -0.8691380],
    (7, 0): [-0.2019685, -2.1775235, -0.5701189, 1.4210483],
    (-5, 1): [1.4292341, -0.1018889, -0.3550160, 0.9365903],
    (-(2**63), 2): [-0.4821493, -0.4404956, 0.4597934, 0.4550236],
}


@pytest.mark.parametrize(("seed", "stream"), GOLDEN_UNIFORMS)
def test_golden_uniforms(seed, stream):
    scaled = reference.uniform([seed], 4, stream)[0].astype(np.float64) * 2**24
    assert scaled.tolist() == GOLDEN_UNIFORMS[seed, stream]


@pytest.mark.parametrize(("seed", "stream"), GOLDEN_NORMALS)
def test_golden_normals(seed, stream):
    normals = reference.normal_from_uniform(reference.uniform([seed], 4, stream))[0]
    np.testing.assert_allclose(normals, GOLDEN_NORMALS[seed, stream], rtol=0, atol=1e-6)


def test_the_version_of_the_algorithm_has_not_changed_silently():
    from tfpvae.random import ALGORITHM

    assert ALGORITHM == "threefry2x32-20/v1"


class TestDistribution:
    """Fixed seeds, so each either passes always or fails always; the levels are those of one chance in a thousand."""

    SEEDS = np.arange(-2000, 2000)
    """Successive, as users give them."""

    def test_uniforms_follow_the_uniform_law_in_every_lane(self):
        u = reference.uniform(self.SEEDS, 6)
        for lane in range(6):
            assert stats.kstest(u[:, lane], "uniform").pvalue > 1e-3
        assert abs(u.mean() - 1 / 2) < 3.3 * np.sqrt(1 / 12 / u.size)
        assert abs(u.var() - 1 / 12) < 3.3 * np.sqrt(1 / 180 / u.size)

    def test_uniforms_along_one_seed_follow_the_uniform_law(self):
        u = reference.uniform([3], 10_000)[0]
        assert stats.kstest(u, "uniform").pvalue > 1e-3

    def test_normals_follow_the_normal_law_in_every_lane(self):
        z = reference.normal_from_uniform(reference.uniform(self.SEEDS, 6))
        for lane in range(6):
            assert stats.kstest(z[:, lane], "norm").pvalue > 1e-3
        assert abs(z.mean()) < 3.3 / np.sqrt(z.size)
        assert abs((z**2).mean() - 1) < 3.3 * np.sqrt(2 / z.size)
        assert abs((z**3).mean()) < 3.3 * np.sqrt(15 / z.size)
        assert abs((z**4).mean() - 3) < 3.3 * np.sqrt(96 / z.size)

    @pytest.mark.parametrize(
        "make", [reference.uniform, lambda s, n: reference.normal_from_uniform(reference.uniform(s, n))]
    )
    def test_lanes_streams_and_neighbouring_seeds_are_uncorrelated(self, make):
        values = make(self.SEEDS, 6)
        # The largest of 15 sample correlations of N independent pairs, each about N(0, 1/N).
        limit = 4 / np.sqrt(len(values))
        between_lanes = np.corrcoef(values.T)[np.triu_indices(6, 1)]
        assert np.abs(between_lanes).max() < limit
        for lane in range(6):
            assert abs(np.corrcoef(values[:-1, lane], values[1:, lane])[0, 1]) < limit

    def test_streams_are_uncorrelated(self):
        a, b = (reference.uniform(self.SEEDS, 6, stream).ravel() for stream in (0, 1))
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(a.size)
