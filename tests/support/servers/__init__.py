"""Real servers, which tests, benchmarks and torture start themselves.

They come from PyPI, listen on free loopback ports, keep their files in a directory of their own,
and end with whoever started them, however that came to its end.
"""
