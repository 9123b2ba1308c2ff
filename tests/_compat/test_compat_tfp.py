"""Each part of TensorFlow Probability that `tfpvae._compat.tfp` uses is still as it was."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae._compat import tfp as compat


@pytest.mark.parametrize("name", compat.METHODS_BEHIND_THE_PUBLIC_ONES)
def test_the_private_methods_are_there(name):
    classes = (tfd.Distribution, tfd.Normal, tfd.Uniform, tfd.MultivariateNormalDiag)
    assert any(hasattr(cls, name) for cls in classes)


@pytest.mark.parametrize("name", ["mean", "mode", "stddev", "variance", "entropy", "sample"])
def test_the_public_methods_work_by_them(name):
    """`tfd.Distribution.mean(wrapper)` needs no more of a wrapper than what is listed."""

    class Wrapper(tfd.Distribution):
        def __init__(self, inner):
            self.inner = inner
            super().__init__(inner.dtype, inner.reparameterization_type, False, True, parameters=inner.parameters)

    def pass_on(method):
        return lambda self, *args, **options: getattr(self.inner, method)(*args, **options)

    for method in compat.METHODS_BEHIND_THE_PUBLIC_ONES:
        setattr(Wrapper, method, pass_on(method))
    normal = tfd.Normal(tf.constant([1.0, 2.0]), 3.0)
    wrapped = getattr(tfd.Distribution, name)(Wrapper(normal))
    assert wrapped.shape == (2,)
    if name != "sample":
        tf.debugging.assert_equal(wrapped, getattr(normal, name)())


def test_a_sampler_and_a_mode_are_used_by_the_public_methods():
    mixture = tfd.MixtureSameFamily(tfd.Categorical([0.0, 0.0]), tfd.Normal([0.0, 0.0], 1.0))
    with pytest.raises(NotImplementedError):
        mixture.mode()
    drawn = compat.with_sampler(mixture, lambda n, seed=None: tf.fill([n], 7.0))
    assert drawn is mixture
    assert drawn.sample([2, 3]).numpy().tolist() == [[7.0] * 3] * 2
    assert compat.with_mode(drawn, lambda: tf.constant(5.0)).mode() == 5.0
