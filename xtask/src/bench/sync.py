"""Says what durable writes of so many bytes cost in this directory, in seconds: python3 sync.py BYTES

As a write-ahead log does most of the time, it writes over a file that has its size already, from front to back. Both ways
take turns, so that other work on the machine hits both alike.
"""
import json, os, sys, time

size, most, times = int(sys.argv[1]), 4 << 20, 301
name = 'sync'
file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
os.unlink(name)
os.pwrite(file, b'\0' * max(most, size), 0)
os.fsync(file)

spent, at = {os.fsync: [], os.fdatasync: []}, 0
for number in range(times):
    for make_durable in spent:
        at = 0 if at + size > most else at
        began = time.monotonic()
        os.pwrite(file, bytes([number % 256]) * size, at)
        make_durable(file)
        spent[make_durable].append(time.monotonic() - began)
        at += size
print(json.dumps({way.__name__: sorted(each)[times // 2] for way, each in spent.items()}))
