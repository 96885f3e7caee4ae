"""Programs that attack the judge or the machine, by class, each with the outcomes it may get. Run by test_hostile.py.

`TOKEN` is the answer that all tests ask for and no program contains. The marks @FILE@ (a file anyone may write), @FOLDER@ (its
folder) and @PORT@ (a port on which the test listens) are filled in before a program is judged.

    python tests/hostile_programs.py FILE PORT [no-namespaces] judges all and prints a JSON object {"layers", "verdicts"}
"""

import json
import pathlib
import sys

TOKEN = 93518046
WRONG, ERROR, COMPILE, RIGHT = "failed_test", "runtime_error", "compile_error", "passed"
# fmt: off
_SEARCH = '''
import gc, os, re, sys
def found():
    texts = [repr(os.environ), repr(sys.argv)]
    frame = sys._getframe()
    while frame:
        texts += [repr(frame.f_locals), repr(frame.f_globals)[:10**6]]
        frame = frame.f_back
    for thing in gc.get_objects():
        try:
            texts.append(repr(thing)[:10**4])
        except BaseException:
            pass
    for descriptor in range(1024):
        for read in (lambda: os.pread(descriptor, 10**6, 0), lambda: os.set_blocking(descriptor, False) or os.read(descriptor, 10**6)):
            try:
                texts.append(repr(read()))
            except OSError:
                pass
    for place in ("/proc/%d/%s" % (n, name) for n in [os.getppid(), *range(1, 99)] for name in ("environ", "mem", "fd/0", "fd/3")):
        try:
            texts.append(repr(open(place, "rb").read(10**6)))
        except OSError:
            pass
    for folder in (".", "/tmp", "@FOLDER@"):
        try:
            texts += [open(os.path.join(folder, name), errors="replace").read() for name in os.listdir(folder)]
        except OSError:
            pass
    return [n for text in texts for n in re.findall(r"[0-9]{8}", text)]
'''
_FRAMES = '''
import json, os
frames = [["compiled"], ["loaded"], ["ready"], ["passed", 0], ["answer", 0, True], ["value", [True, []]], {"outcome": "passed"}, None]
for descriptor in range(1024):
    for frame in frames:
        try:
            os.write(descriptor, json.dumps(frame).encode() + b"\\n")
        except OSError:
            pass
'''
_EQUAL = "__eq__ = lambda *_: True\n    __ne__ = lambda *_: False\n    __hash__ = lambda *_: 0\n"
_PATCH = '''
import builtins, json, sys
always = lambda *a, **k: True
for place in (json, json.encoder, sys.modules.get("operator"), builtins):
    for name in ("dumps", "loads", "encode_basestring_ascii", "c_make_encoder", "eq", "isinstance", "len", "repr", "str", "any", "all"):
        try:
            setattr(place, name, always)
        except BaseException:
            pass
'''
_CLIMB = '''
import gc, sys, types
for module in list(sys.modules.values()):
    for name, thing in list(vars(module).items()) if isinstance(module, types.ModuleType) else []:
        if name.startswith(("coderl", "judge", "verdict", "send", "encode", "compare", "Channel")):
            setattr(module, name, lambda *a, **k: ["passed", 0])
for thing in gc.get_objects():
    if isinstance(thing, type) and thing.__name__ in ("Channel", "Session", "Remote", "Line"):
        thing.send = thing.receive = thing.send_error = lambda *a, **k: None
'''
_TRACE = '''
import sys
def trace(frame, event, argument):
    for name in list(frame.f_locals):
        if isinstance(frame.f_locals[name], bool):
            frame.f_locals[name] = True
    frame.f_globals["answer"] = frame.f_globals["_PASSED"] = True
    return trace
sys.settrace(trace)
sys.setprofile(trace)
'''
# Raw system calls by number: (x86-64, aarch64). Prints the names of those that the kernel let through.
_CALLS = '''
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
path = ctypes.c_char_p(b"@FILE@")
calls = {
    "ptrace": (101, 117, 16, os.getppid(), 0, 0), "process_vm_readv": (310, 270, os.getppid(), 0, 0, 0, 0, 0),
    "unshare": (272, 97, 0x10000000), "mount": (165, 40, path, path, path, 0, 0), "chroot": (161, 51, path),
    "pivot_root": (155, 41, path, path), "setns": (308, 268, 0, 0), "bpf": (321, 280, 0, 0, 0),
    "perf_event_open": (298, 241, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 282, 0), "io_uring_setup": (425, 425, 8, 0), "keyctl": (250, 219, 0, -3, 1),
    "add_key": (248, 217, path, path, 0, 0, -2),
    "shmget": (29, 194, 0x53424f58, 4096, 0o1666), "semget": (64, 190, 0x53424f58, 1, 0o1666), "msgget": (68, 186, 0x53424f58, 0o1666),
    "memfd_create": (319, 279, path, 0), "socket": (41, 198, 2, 1, 0), "socket udp": (41, 198, 2, 2, 0), "socket unix": (41, 198, 1, 1, 0),
    "fchmodat": (268, 53, -100, path, 0o000), "fchownat": (260, 54, -100, path, 1, 1, 0), "utimensat": (280, 88, -100, path, 0, 0),
    "truncate": (76, 45, path, 0), "unlinkat": (263, 35, -100, path, 0), "renameat2": (316, 276, -100, path, -100, path, 0),
    "setxattr": (188, 5, path, path, path, 1, 0), "personality": (135, 92, 0x0040000), "setuid": (105, 146, 0),
    "reboot": (169, 142, 0, 0, 0, 0),
    "sethostname": (170, 161, path, 1), "settimeofday": (164, 170, 0, 0), "quotactl": (179, 60, 0, 0, 0, 0), "swapon": (167, 224, path, 0),
    "init_module": (175, 105, 0, 0, path), "kexec_load": (246, 104, 0, 0, 0, 0), "open_by_handle_at": (304, 265, 0, 0, 0),
    "pidfd_getfd": (438, 438, 0, 0, 0), "clone3": (435, 435, 0, 0), "execveat": (322, 281, 0, path, 0, 0, 0x1000),
    "fsopen": (430, 430, path, 0),
    "setpriority": (141, 140, 0, 0, 19), "sched_setaffinity": (203, 122, 0, 8, 0), "syslog": (103, 116, 10, 0, 0), "acct": (163, 89, path),
    "empty what is opened to be read": (257, 56, -100, b"/dev/null", os.O_TRUNC),
    "empty it by the older call": (2, -1, b"/dev/null", os.O_TRUNC),
    "empty what is opened for nothing": (257, 56, -100, b"/dev/null", os.O_TRUNC | 3),
    "a filter of its own": (157, 167, 22, 2, path), "outlive its parent": (157, 167, 1, 0, 0), "capset": (126, 91, path, path),
    "a thread with files of its own": (56, 220, 0x10B00, 0, 0, 0, 0), "a thread with a network": (56, 220, 0x40010F00, 0, 0, 0, 0),
}
through = []
for name, (x86, arm, *operands) in calls.items():
    if libc.syscall(x86 if platform.machine() == "x86_64" else arm, *operands) >= 0 or ctypes.get_errno() not in (1, 13, 38):
        through.append(name)
print(through)
'''
_PYTHON = '''
import os, signal, socket, subprocess, sys, multiprocessing.shared_memory, multiprocessing.synchronize
def connect(kind, address, family=socket.AF_INET):
    with socket.socket(family, kind) as it:
        it.connect(address)
        it.send(b"x")
def write(path):
    with open(path, "a") as file:
        file.write("x")
tries = {
    "tcp": lambda: connect(socket.SOCK_STREAM, ("127.0.0.1", @PORT@)), "udp": lambda: connect(socket.SOCK_DGRAM, ("127.0.0.1", @PORT@)),
    "abstract": lambda: connect(socket.SOCK_STREAM, "\\0judge", socket.AF_UNIX), "name": lambda: socket.getaddrinfo("example.com", 80),
    "system": lambda: os.popen("echo x").read() or 1 / 0, "run": lambda: subprocess.run(["/bin/true"]),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}), "fork": os.fork, "vfork": lambda: os.forkpty(),
    "kill parent": lambda: os.kill(os.getppid(), signal.SIGKILL), "kill 1": lambda: os.kill(1, signal.SIGKILL),
    "kill all": lambda: os.kill(-1, 9),
    "kill group": lambda: os.killpg(0, 9) if os.getpgid(0) != os.getpid() else 1 / 0,
    "queue": lambda: signal.pidfd_send_signal(os.pidfd_open(1), 9),
    "write": lambda: write("@FILE@"), "write here": lambda: write("numpy.py"), "write tmp": lambda: write("@FOLDER@/new"),
    "write shm": lambda: write("/dev/shm/judge-test"), "write module": lambda: write(os.__file__),
    "write pth": lambda: write(sys.prefix + "/x.pth"),
    "chmod": lambda: os.chmod("@FILE@", 0), "remove": lambda: os.remove("@FILE@"), "rename": lambda: os.rename("@FILE@", "@FOLDER@/b"),
    "link": lambda: os.link("@FILE@", "@FOLDER@/c"), "symlink": lambda: os.symlink("@FILE@", "@FOLDER@/d"),
    "mkdir": lambda: os.mkdir("@FOLDER@/e"),
    "utime": lambda: os.utime("@FILE@", (1, 1)), "truncate": lambda: os.truncate("@FILE@", 0), "fifo": lambda: os.mkfifo("@FOLDER@/f"),
    "read": lambda: open("@FILE@").read(), "shadow": lambda: open("/etc/shadow").read(), "passwd": lambda: open("/etc/passwd").read(),
    "environ": lambda: open("/proc/1/environ").read(), "list home": lambda: os.listdir("/root"),
    "list tests": lambda: os.listdir("@FOLDER@"),
    "shared memory": lambda: multiprocessing.shared_memory.SharedMemory("judge-test", True, 64), "nice": lambda: os.nice(19),
    "semaphore": lambda: multiprocessing.synchronize.Semaphore(ctx=multiprocessing.get_context("fork")), "setuid": lambda: os.setuid(0),
    "setsid": os.setsid, "affinity": lambda: os.sched_setaffinity(0, {0}),
}
done = []
for name, attempt in tries.items():
    try:
        attempt()
    except (OSError, ImportError, ZeroDivisionError):
        continue
    done.append(name)
print(done)
'''


def _returns(expression: str, before: str = "") -> str:
    return f"{before}\ndef answer(n):\n    return {expression}\n"


def _equal(base: str, argument: str, more: str = "") -> str:
    return _returns(f"Same({argument})", f"class Same({base}):\n    {_EQUAL}{more}")


# name -> (kinds of test, allowed outcomes, program). "call": answer(3) == TOKEN, "assert" likewise as code, "print": prints TOKEN,
# "empty": prints [], that is, nothing worked.
ATTACKS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "int that equals all": ("call assert", (WRONG, ERROR), _equal("int", "5")),
    "str that equals all": (
        "call assert", (WRONG, ERROR),
        _equal("str", "'5'", "    encode = __str__ = __repr__ = lambda *_: '93518045'\n"),
    ),
    "float that equals all": ("call assert", (WRONG, ERROR), _equal("float", "'nan'")),
    "list that equals all": ("call assert", (WRONG, ERROR), _equal("list", "[5]", "    __iter__ = lambda *_: iter([1, 2])\n")),
    "dict that equals all": ("call assert", (WRONG, ERROR), _equal("dict", "a=5", "    items = lambda *_: [(1, 2)]\n")),
    "tuple that equals all": ("call assert", (WRONG, ERROR), _equal("tuple", "[5]")),
    "object that equals all": ("call assert", (WRONG, ERROR), _equal("object", "")),
    "class that equals all": (
        "call assert", (WRONG, ERROR),
        _returns("Same", f"class M(type):\n    {_EQUAL}class Same(metaclass=M): pass"),
    ),
    "claims to be an int": (
        "call assert", (WRONG, ERROR),
        _equal("object", "", "    __class__ = int\n    __index__ = __int__ = lambda *_: 5\n"),
    ),
    "numpy array": ("call assert", (WRONG, ERROR), _returns("np.array([5, 6])", "import numpy as np")),
    "mock": ("call assert", (WRONG, ERROR), _returns("mock.ANY", "from unittest import mock")),
    "unpickles to a command": (
        "call assert", (WRONG, ERROR),
        _equal("object", "", "    __reduce__ = lambda _: (open, ('@FOLDER@/p', 'w'))\n"),
    ),
    "contains itself": ("call assert", (WRONG, ERROR), "def answer(n):\n    x = []\n    x.append(x)\n    return x"),
    "deeply nested": (
        "call assert", (WRONG, ERROR),
        "def answer(n):\n    x = []\n    for _ in range(10**5):\n        x = [x]\n    return x",
    ),
    "endless generator": ("call", (WRONG, ERROR), "def answer(n):\n    while True:\n        yield n"),
    "searches all it can reach": ("call assert", (WRONG, ERROR), _returns("int((found() or [0])[0])", _SEARCH)),
    "searches and prints": ("print", (WRONG, ERROR), _SEARCH + "for text in found():\n    print(text)"),
    "forged reports": ("call assert", (WRONG, ERROR), _returns("True", _FRAMES)),
    "forged reports, no error": ("print", (WRONG, ERROR), _FRAMES),
    "forged reports and exit": ("call assert print", (WRONG, ERROR), _FRAMES + "os._exit(0)"),
    "forged reports late": (
        "call assert print", (WRONG, ERROR),
        f"import atexit\ndef answer(n):\n    exec({_FRAMES!r})\natexit.register(answer, 0)",
    ),
    "pretends not to compile": (
        "call print", (ERROR,),
        _FRAMES.replace('["compiled"]', '["compile_error", "SyntaxError", "x", 1]') + "1 / 0",
    ),
    "closes every descriptor": ("call assert", (ERROR,), _returns("n", "import os\nos.closerange(0, 4096)")),
    "right and then an error, descriptors closed": ("empty", (ERROR,), "import os\nprint([], flush=True)\nos.closerange(3, 4096)\n1 / 0"),
    "right and then an error, hooks replaced": (
        "empty", (ERROR,),
        "import os, sys\nprint([], flush=True)\nsys.excepthook = lambda *_: os._exit(0)\n1 / 0",
    ),
    "right and then a crash": ("empty", (ERROR,), "import ctypes\nprint([], flush=True)\nctypes.string_at(0)"),
    "right and then a bad status": ("empty", (ERROR,), "import os\nprint([], flush=True)\nos._exit(1)"),
    "patches what encodes and compares": ("call assert print", (WRONG, ERROR), _returns("n", _PATCH)),
    "patches the judge's modules": ("call assert print", (WRONG, ERROR), _returns("n", _CLIMB)),
    "empties sys.modules": ("call assert print", (WRONG, ERROR), _returns("n", "import sys\nsys.modules.clear()")),
    "traces": ("call assert print", (WRONG, ERROR), _returns("n", _TRACE)),
    "imports the judge": ("call assert print", (WRONG, ERROR), _returns("n", "import coderl_jax.sandbox.child as c\nc.run = None")),
    "output that equals all": ("print", (WRONG, ERROR), f"import sys\nclass Same(str):\n    {_EQUAL}sys.stdout = sys.__stdout__ = Same()"),
    "replaces built-ins of the tests": ("assert", (WRONG, ERROR), "answer = abs = int = AssertionError = lambda *_: 5\n__debug__x = False"),
    "system calls": ("empty", (RIGHT,), _CALLS),
    "reach from Python": ("empty", (RIGHT,), _PYTHON),
    "loops": ("print", (ERROR,), "while True: pass"),
    "sleeps": ("call", (ERROR,), "import time\ndef answer(n):\n    time.sleep(99)"),
    "swallows every exception": ("print", (ERROR,), "while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
    "ignores signals": (
        "print",
        (ERROR,),
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
    ),
    "hangs while loading": ("call assert", (ERROR,), "while True: pass"),
    "hangs in many threads": (
        "print", (ERROR,),
        "import threading\nfor _ in range(9):\n    threading.Thread(target=eval, args=('[0 for _ in iter(int, 1)]',)).start()",
    ),
    "hangs at exit": ("print", (WRONG, ERROR), "import atexit, time\natexit.register(time.sleep, 99)"),
    "hangs in its error's text": ("print call", (ERROR,), "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E"),
    "ends itself by an alarm": ("print", (ERROR,), "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nwhile True: pass"),
    "takes memory": ("print call", (ERROR,), "x = [bytearray(1 << 20) for _ in range(9999)]"),
    "takes memory by mmap": ("print", (ERROR,), "import mmap\nx = mmap.mmap(-1, 8 << 30)"),
    "takes memory and forgives itself": (
        "print", (ERROR,),
        "x = []\nwhile True:\n    try: x.append(bytearray(1 << 24))\n    except MemoryError: pass",
    ),
    "raises its limits": ("print", (ERROR,), "import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))\nx = bytearray(4 << 30)"),
    "floods standard output": ("print", (ERROR,), "import os\nwhile True: os.write(1, b'x' * 65536)"),
    "floods standard error": ("print", (WRONG, ERROR), "import os\nfor _ in range(999): os.write(2, b'x' * 65536)"),
    "floods the reports": (
        "call assert", (ERROR,),
        "import os\nfor d in range(3, 999):\n    try:\n        while True: os.write(d, b'[' * 65536)\n    except OSError: pass",
    ),
    "overflows the stack": ("print", (ERROR,), "import sys\nsys.setrecursionlimit(10**9)\nf = lambda: f()\nf()"),
    "overflows the C stack": (
        "print", (ERROR,),
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    ),
    "aborts": ("print call assert", (ERROR,), "import os\nos.abort()"),
    "error without text": ("print call assert", (ERROR,), "class E(Exception):\n    __str__ = __repr__ = lambda _: 1 / 0\nraise E"),
    "error with a long name": ("print call", (ERROR,), "raise type('E' * 10**7, (Exception,), {})"),
    "error that lies about itself": (
        "print call", (ERROR,),
        "class M(type):\n    __name__ = __qualname__ = 'SyntaxError'\nclass E(Exception, metaclass=M): pass\nraise E",
    ),
    "a syntax error while running": ("print call assert", (ERROR,), "raise SyntaxError('invalid syntax', ('program.py', 1, 1, 'x'))"),
    "compiles a wrong text while running": ("print call", (ERROR,), "exec('def')"),
    "interrupts itself": ("print call assert", (ERROR,), "raise KeyboardInterrupt"),
    "exits while loading": ("call assert", (ERROR,), "import sys\nsys.exit(0)"),
    "exits in its function": ("call assert", (ERROR,), "def answer(n):\n    raise SystemExit"),
    "prints no text": ("print", (WRONG, ERROR), "import os\nos.write(1, b'\\xff\\xfe' + bytes(range(256)))"),
    "prints a surrogate": ("print", (WRONG, ERROR), "print('\\udc80')"),
    "hides code in an encoding": ("print", (WRONG, ERROR, COMPILE), "# coding: utf-7\n# +AAo-print(93518045)"),
    "takes long to compile": ("print", (WRONG, ERROR, COMPILE), "x = " + "lambda: " * 5000 + "1\n" + "y = " + "-" * 99999 + "1"),
    "huge constant": ("print", (WRONG, ERROR, COMPILE), "x = 9**9**9**9"),
}
# fmt: on


def main(file: str, port: str, *ways: str) -> None:
    """Judge all programs and print what became of them."""
    if "no-namespaces" in ways:
        import pyseccomp

        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        rules.add_rule(pyseccomp.ERRNO(1), "unshare")
        rules.load()
    from coderl_jax.config import Judging
    from coderl_jax.sandbox import Judge
    from coderl_jax.types import AssertTests, CallTests, StdinTests

    tests = {
        "call": CallTests(fn_name="answer", inputs=([3],), outputs=(TOKEN,)),
        "assert": AssertTests(setup="", asserts=(f"assert answer(3) == {TOKEN}",)),
        "print": StdinTests(inputs=("3\n",), outputs=(f"{TOKEN}\n",)),
        "empty": StdinTests(inputs=("3\n",), outputs=("[]\n",)),
    }
    cases = [(name, kind, program) for name, (kinds, _, program) in ATTACKS.items() for kind in kinds.split()]
    marks = {"@FILE@": file, "@FOLDER@": str(pathlib.Path(file).parent), "@PORT@": port}
    pairs = []
    for _, kind, program in cases:
        for mark, value in marks.items():
            program = program.replace(mark, value)
        pairs.append((program, tests[kind]))
    with Judge(Judging(time_limit=0.5)) as judge:
        verdicts = judge.judge(*zip(*pairs, strict=True))
        layers = judge.layers()
    rows = [(name, kind, v.outcome.label, str(v)) for (name, kind, _), v in zip(cases, verdicts, strict=True)]
    print(json.dumps({"layers": layers, "verdicts": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
