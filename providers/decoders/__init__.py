"""Decoder processes: where bytes from outside meet a codec, and nothing else. See `contract.Decoders`."""

from providers.decoders.pool import DecoderProcesses
from providers.decoders.process import usable_cores

__all__ = ["DecoderProcesses", "usable_cores"]
