"""Waits for a program and says what it used: python3 wait.py LIMIT LOG PROGRAM ARGUMENT…

Commits of the log are counted from the index of SQLite's write-ahead log, which every connection shares: it has a counter
that each commit raises, and the number of pages in the log. The index goes when the last connection closes, and what was
opened of it can still be read.
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
        self.indexes = []
        self.last = None
        # Of commits between two looks, within which the log did not begin anew.
        self.commits, self.written = 0, 0

    def run(self):
        while not self.ended.wait(0.002):
            self.look()

    def look(self):
        try:
            inode = os.stat(log + '-shm').st_ino
            if not self.indexes or self.indexes[-1][1] != inode:
                index = os.open(log + '-shm', os.O_RDONLY)
                self.indexes.append((index, os.fstat(index).st_ino))
                self.last = None
        except OSError:
            return
        commits, page, frames = self.header(self.indexes[-1][0])
        if self.last and commits > self.last[0] and frames > self.last[1]:
            self.commits += commits - self.last[0]
            self.written += (frames - self.last[1]) * (page + 24)
        self.last = commits, frames

    def count(self):
        """Returns how many there were, and how many bytes each wrote to the log."""
        self.ended.set()
        self.join()
        commits = sum(self.header(index)[0] for index, _ in self.indexes)
        return commits, self.written // self.commits if self.commits else 0

    @staticmethod
    def header(index):
        """Returns the counter of commits, the size of a page, and how many pages are in the log."""
        header = os.pread(index, 20, 0)
        if len(header) < 20:
            return 0, 0, 0
        commits, _, page, frames = struct.unpack('=IHHI', header[8:20])
        return commits, 65536 if page == 1 else page, frames


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
committed, commit_bytes = commits.count()
grown = None
if os.path.exists(log):
    state = sqlite3.connect(log)
    grown = state.execute(
        'select count(*), coalesce(sum(length(body)), 0) from events where sequence > ?', (before,)).fetchone()
    state.close()
    grown = {'events': grown[0], 'bytes': grown[1], 'commits': committed,
        'commit_bytes': commit_bytes}
print(json.dumps({'code': os.waitstatus_to_exitcode(status), 'wall': wall, 'user': used.ru_utime,
    'system': used.ru_stime, 'peak': used.ru_maxrss, 'log': grown, 'cut': bool(cut)}))
