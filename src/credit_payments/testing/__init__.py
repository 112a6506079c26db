"""What a host needs to test with: a Stripe simulator, contract suites, strategies."""
