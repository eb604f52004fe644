"""restic's sealing written from the format document alone (chapter 2): to make vaults that no program of ours would write.

AES and Poly1305 by the letter of FIPS 197 and RFC 8439; slow, and only good for the few hundred bytes of a record."""
import base64
import hashlib
import json
import os


def make_sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= (p << 1 ^ (0x11B if p & 0x80 else 0)) & 0x1FF  # times 3
        q ^= q << 1  # divided by 3
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        q ^= 0x09 if q & 0x80 else 0
        x = q ^ q << 1 ^ q << 2 ^ q << 3 ^ q << 4
        box[p] = (x ^ x >> 8) & 0xFF ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return bytes(box)


SBOX = make_sbox()


def double(b):
    return (b << 1 ^ (0x1B if b & 0x80 else 0)) & 0xFF


def expand(key):
    n, rcon = len(key) // 4, 1
    words = [key[i:i + 4] for i in range(0, len(key), 4)]
    for i in range(n, 4 * (n + 7)):
        w = words[-1]
        if i % n == 0:
            w = bytes(SBOX[b] for b in w[1:] + w[:1])
            w = bytes([w[0] ^ rcon]) + w[1:]
            rcon = double(rcon)
        elif n > 6 and i % n == 4:
            w = bytes(SBOX[b] for b in w)
        words.append(bytes(a ^ b for a, b in zip(words[i - n], w)))
    return [b"".join(words[i:i + 4]) for i in range(0, len(words), 4)]


def encrypt_block(rounds, block):
    state = bytes(a ^ b for a, b in zip(block, rounds[0]))
    for number, key in enumerate(rounds[1:], 1):
        state = bytes(SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16))
        if number < len(rounds) - 1:
            mixed = []
            for c in range(0, 16, 4):
                a, b, d, e = state[c:c + 4]
                every = a ^ b ^ d ^ e
                mixed += [a ^ every ^ double(a ^ b), b ^ every ^ double(b ^ d), d ^ every ^ double(d ^ e), e ^ every ^ double(e ^ a)]
            state = bytes(mixed)
        state = bytes(a ^ b for a, b in zip(state, key))
    return state


def ctr(key, iv, data):
    rounds, counter, out = expand(key), int.from_bytes(iv, "big"), bytearray()
    for at in range(0, len(data), 16):
        stream = encrypt_block(rounds, (counter % (1 << 128)).to_bytes(16, "big"))
        out += bytes(a ^ b for a, b in zip(data[at:at + 16], stream))
        counter += 1
    return bytes(out)


def poly1305(r, s, message):
    clamped = int.from_bytes(r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at:at + 16] + b"\1", "little")) * clamped % ((1 << 130) - 5)
    return ((total + int.from_bytes(s, "little")) % (1 << 128)).to_bytes(16, "little")


class Keys:
    def __init__(self, encrypt, k, r):
        self.encrypt, self.k, self.r = encrypt, k, r

    def tag(self, iv, sealed):
        return poly1305(self.r, encrypt_block(expand(self.k), iv), sealed)

    def seal(self, plain):
        iv = os.urandom(16)
        sealed = ctr(self.encrypt, iv, plain)
        return iv + sealed + self.tag(iv, sealed)

    def open(self, sealed):
        iv, body, tag = sealed[:16], sealed[16:-16], sealed[-16:]
        if self.tag(iv, body) != tag:
            raise ValueError("the record does not authenticate")
        return ctr(self.encrypt, iv, body)


def master_keys(vault, password):
    """From the vault's first key file."""
    file = json.loads(sorted((vault / "keys").iterdir())[0].read_bytes())
    derived = hashlib.scrypt(password.encode(), salt=base64.b64decode(file["salt"]), n=file["N"], r=file["r"], p=file["p"],
                             maxmem=256 << 20, dklen=64)
    master = json.loads(Keys(derived[:32], derived[32:48], derived[48:]).open(base64.b64decode(file["data"])))
    return Keys(*(base64.b64decode(text) for text in (master["encrypt"], master["mac"]["k"], master["mac"]["r"])))


def replace(path, data):
    """Vault files are made read-only: a new file in place of the old."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def change_config(vault, keys, **members):
    config = json.loads(keys.open((vault / "config").read_bytes()))
    config.update(members)
    replace(vault / "config", keys.seal(json.dumps(config, separators=(",", ":")).encode()))
    return config


def twin_record(path, keys, digits):
    """The same record sealed anew until its name begins with the same digits."""
    plain = keys.open(path.read_bytes())
    while True:
        sealed = keys.seal(plain)
        name = hashlib.sha256(sealed).hexdigest()
        if name.startswith(path.name[:digits]):
            replace(path.parent / name, sealed)
            return name
