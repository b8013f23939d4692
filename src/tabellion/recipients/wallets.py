"""Addresses of wallets: EVM (EIP-55) and Solana (base58).

Keccak-256 is here for the checksum alone, which guards against slips of the pen and protects nothing: the standard
library has SHA-3, which pads differently. Read 2026-11-21: https://eips.ethereum.org/EIPS/eip-55.
"""

import re
from typing import Final

_EVM: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_BASE58: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")
_DIGITS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SOLANA_BYTES: Final = 32
_RATE: Final = 136
"""Bytes that one round of Keccak-256 takes in."""
_WORD: Final = (1 << 64) - 1
_KECCAK: Final = 0x01
SHA3: Final = 0x06
"""The first byte of padding: all that tells SHA-3 from Keccak."""


def address(text: str) -> str:
    """The address in the form its network writes it. Raises `ValueError` saying what is wrong."""
    if text.startswith("0x"):
        return _evm(text)
    if not _BASE58.fullmatch(text):
        raise ValueError("not a wallet address; write 0x and 40 hex digits (EVM), or 32 to 44 characters (Solana)")
    if len(_unbase58(text)) != _SOLANA_BYTES:
        raise ValueError("not a wallet address: it does not come to the 32 bytes that one of Solana has")
    return text


def checksummed(digits: str) -> str:
    """40 lower-case hex digits as an address whose capitals are its checksum (EIP-55)."""
    cover = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(over, 16) >= 8 else digit for digit, over in zip(digits, cover, strict=False)
    )


def keccak256(data: bytes, padding: int = _KECCAK) -> bytes:
    """The Keccak-256 hash; with the padding of `SHA3` it is SHA3-256."""
    padded = bytearray(data) + bytes([padding]) + bytes(-(len(data) + 1) % _RATE)
    padded[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            at = start + 8 * lane
            lanes[lane] ^= int.from_bytes(padded[at : at + 8], "little")
        lanes = _permuted(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _evm(text: str) -> str:
    if not _EVM.fullmatch(text):
        raise ValueError("not a wallet address; one of an EVM network has 0x and 40 hex digits")
    digits = text[2:]
    right = checksummed(digits.lower())
    if digits not in (digits.lower(), digits.upper()) and text != right:
        raise ValueError("its capitals do not fit its checksum (EIP-55), so a character is wrong; copy it again")
    return right


def _unbase58(text: str) -> bytes:
    number = 0
    for character in text:
        number = number * 58 + _DIGITS.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _permuted(lanes: list[int]) -> list[int]:
    """Keccak-f[1600]: theta, rho with pi, chi, iota, 24 times. Lane (x, y) is at x + 5y."""
    constant = 1
    for _ in range(24):
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [columns[x - 1] ^ _turned(columns[(x + 1) % 5], 1) for x in range(5)]
        lanes = [lane ^ mixed[place % 5] for place, lane in enumerate(lanes)]
        lanes = _moved(lanes)
        lanes = [
            lanes[place] ^ (~lanes[row + (place + 1) % 5] & lanes[row + (place + 2) % 5] & _WORD)
            for row in range(0, 25, 5)
            for place in range(row, row + 5)
        ]
        for bit in range(7):
            constant = (constant << 1) ^ (0x171 if constant & 0x80 else 0)
            if constant & 2:
                lanes[0] ^= 1 << ((1 << bit) - 1)
    return lanes


def _moved(lanes: list[int]) -> list[int]:
    moved, x, y, current = list(lanes), 1, 0, lanes[1]
    for step in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        moved[x + 5 * y], current = _turned(current, (step + 1) * (step + 2) // 2), lanes[x + 5 * y]
    return moved


def _turned(lane: int, by: int) -> int:
    by %= 64
    return ((lane << by) | (lane >> (64 - by))) & _WORD
