"""What upstreams owe us: one package a provider, and the contract they all keep."""
