import pytest


@pytest.fixture(scope="package", autouse=True)
def few_components():
    """A prior is fitted after training: here with as little work as shows it."""
    from tfpvae.training import refining

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refining, "COMPONENTS", (1, 4))
        yield
