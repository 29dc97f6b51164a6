"""Waits for a program and says what it used: python3 wait.py LIMIT LOG PROGRAM ARGUMENT…

Commits of the log are counted from the index of SQLite's write-ahead log, which every connection shares: it has a counter
that each commit raises. The index goes when the last connection closes, and what was opened of it can still be read.
"""
import json, os, signal, sqlite3, struct, sys, threading, time

limit, log, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


def reached():
    """Returns the log's last sequence number."""
    if not os.path.exists(log):
        return 0
    # Not for reading only: the last to close leaves nothing beside the database.
    state = sqlite3.connect(log)
    try:
        return state.execute('select coalesce(max(sequence), 0) from events').fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        state.close()


class Commits(threading.Thread):
    """Watches the index of the log."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seen = []

    def run(self):
        while not self.ended.wait(0.002):
            self.look()

    def look(self):
        try:
            now = os.stat(log + '-shm')
            if not self.seen or self.seen[-1][1] != now.st_ino:
                index = os.open(log + '-shm', os.O_RDONLY)
                self.seen.append((index, os.fstat(index).st_ino))
        except OSError:
            pass

    def count(self):
        self.ended.set()
        self.join()
        return sum(self.counter(index) for index, _ in self.seen)

    @staticmethod
    def counter(index):
        header = os.pread(index, 12, 0)
        return struct.unpack('=I', header[8:12])[0] if len(header) == 12 else 0


before = reached()
out = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
commits = Commits()
commits.start()
started = time.monotonic()
pid = os.posix_spawn(command[0], command, os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)], setpgroup=0)
cut = []


def end(*_):
    cut.append(True)
    os.killpg(pid, signal.SIGKILL)


signal.signal(signal.SIGALRM, end)
signal.alarm(limit)
_, status, used = os.wait4(pid, 0)
signal.alarm(0)
wall = time.monotonic() - started
committed = commits.count()
grown = None
if os.path.exists(log):
    state = sqlite3.connect(log)
    grown = state.execute(
        'select count(*), coalesce(sum(length(body)), 0) from events where sequence > ?', (before,)).fetchone()
    state.close()
    grown = {'events': grown[0], 'bytes': grown[1], 'commits': committed}
print(json.dumps({'code': os.waitstatus_to_exitcode(status), 'wall': wall, 'user': used.ru_utime,
    'system': used.ru_stime, 'peak': used.ru_maxrss, 'blocks': used.ru_oublock, 'log': grown, 'cut': bool(cut)}))
