"""What tfpvae uses of other packages that is not public, one file a package.

Each function says why it is needed and what the public interface lacks. Each has a test in `tests/_compat` that fails
when the other package changes that part. Nothing outside this package uses a private name of another package: a test
in `tests/test_package.py` looks.
"""
