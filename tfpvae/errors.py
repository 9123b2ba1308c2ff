"""One exception tree. Everything that tfpvae raises on purpose is a `TfpvaeError`."""


class TfpvaeError(Exception):
    """The root of every error that tfpvae raises on purpose."""


class MissingExtraError(TfpvaeError, ImportError):
    """A part was used whose packages are not installed; the message names the command that installs them."""


class DataError(TfpvaeError, ValueError):
    """Data that cannot be read, or that is not what it is said to be (shape, pixel range, NaN)."""

    # By this TensorFlow knows that a message is all it takes, and keeps the class of an error in a `tf.function`.
    __init__ = Exception.__init__


class ModelError(TfpvaeError, ValueError):
    """Encoder, decoder, prior or regulariser that do not fit together, or arguments that no model can take."""

    # By this TensorFlow knows that a message is all it takes, and keeps the class of an error in a `tf.function`.
    __init__ = Exception.__init__


class DivergedError(TfpvaeError, ArithmeticError):
    """Training whose loss or gradients stopped being finite; the message says what to do."""


class UnavailableError(ModelError, NotImplementedError):
    """A signature that a model cannot have.

    Attributes:
        reason: why, in a clause, for the manifest: "the prior cannot be drawn from a fixed number of uniforms".
    """

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or reason)
        self.reason = reason


class RunError(TfpvaeError):
    """A run directory that is missing, incomplete, or would be overwritten."""


class ExportError(TfpvaeError):
    """An export that could not be made, or that does not compute what the model computes."""


class ManifestError(ExportError):
    """A version's `manifest.json` that cannot be read, of a newer format, or with something else than belongs there."""


class ClientError(TfpvaeError):
    """The root of what `tfpvae.client` and `tfpvae.edge` raise."""


class RequestError(ClientError, ValueError):
    """Arguments that are not what the call takes: the mistake is on the caller's side, and nothing was computed."""


class ConnectionFailedError(ClientError, ConnectionError):
    """The server could not be reached, or did not answer in time."""


class ServerError(ClientError):
    """The server answered with an error.

    Attributes:
        status: the HTTP status code, or None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ServerError):
    """The server has no such model, version or label; or the files have no such signature."""


class ServeError(TfpvaeError):
    """Models that cannot be served: no folder, no model in it, one that cannot be loaded; or a port in use."""
