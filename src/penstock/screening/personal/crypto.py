"""Addresses of crypto-currencies: Bitcoin (base58check, bech32 and bech32m checksums verified) and Ethereum (by form)."""

from __future__ import annotations

import hashlib
import re

from penstock.screening.personal.contract import LONG, Kind, Span

_PATTERN = re.compile(r"(?<![0-9A-Za-z])(?:0x[0-9a-fA-F]{40}|(?:bc1|BC1)[0-9A-Za-z]{11,71}|[13][1-9A-HJ-NP-Za-km-z]{25,34})(?![0-9A-Za-z])")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _find(text: str) -> list[Span]:
    return [m.span() for m in _PATTERN.finditer(text) if _valid(m[0])]


def _valid(address: str) -> bool:
    if address[:2] == "0x":
        return True
    return _bech32(address.lower()) if address[:3].lower() == "bc1" else _base58(address)


def _base58(address: str) -> bool:
    number = 0
    for char in address:
        number = number * 58 + _BASE58.index(char)
    if number >= 1 << 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def _bech32(address: str) -> bool:
    """BIP 173 and BIP 350: the polynomial is 1 for bech32 and 0x2bc830a3 for bech32m."""
    if any(char not in _BECH32 for char in address[3:]):
        return False
    check = 1
    for value in (3, 3, 0, 2, 3, *(_BECH32.index(char) for char in address[3:])):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                check ^= generator
    return check in (1, 0x2BC830A3)


KIND = Kind("crypto", LONG, _find)
