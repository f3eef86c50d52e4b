"""Writes GGUF files: metadata, and tensors whose bytes are given.  Needs nothing but Python."""
import struct

__all__ = ["U16", "U32", "I32", "FLOAT", "BOOL", "STRING", "ARRAY", "write"]
U16, U32, I32, FLOAT, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9


def _string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def _value(kind, v):
    if kind == STRING:
        return _string(v)
    return struct.pack({U16: "<H", U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], v)


def write(path, metadata, tensors, version=3, align=32):
    """metadata: (key, kind, value) or (key, ARRAY, kind, values); tensors: (name, shape, type, bytes),
    the shape rows first as numpy has it."""
    out = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(metadata))]
    for key, kind, *v in metadata:
        out += [_string(key), struct.pack("<I", kind)]
        if kind == ARRAY:
            out += [struct.pack("<IQ", v[0], len(v[1]))] + [_value(v[0], x) for x in v[1]]
        else:
            out.append(_value(kind, v[0]))
    offset = 0
    for name, shape, kind, data in tensors:
        out += [_string(name), struct.pack("<I", len(shape)), struct.pack("<%dQ" % len(shape), *reversed(shape)),
                struct.pack("<IQ", kind, offset)]
        offset += -(-len(data) // align) * align
    head = b"".join(out)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % align))
        for _, _, _, data in tensors:
            f.write(data + bytes(-len(data) % align))
