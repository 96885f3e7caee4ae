"""The layers between a program and the machine. Applied once by a worker to itself; its children inherit them.

    seccomp     which system calls work: no sockets, processes, signals to others, changes of files' names or modes
    landlock    which files can be read: Python's own and the shared libraries; nothing can be written
    rlimits     how much memory, processor time, open files and output (set in each child, see child.py)
    namespaces  what can be seen at all: own process ids, network, users, IPC; none where the kernel does not allow it

The first three are the required core. seccomp's filters are built by libseccomp (pyseccomp) in our process and handed to
the worker as bytes, Landlock's rules by landlockpy in the worker.
"""

import contextlib
import ctypes
import dataclasses
import errno
import itertools
import os
import select
import signal
import struct
import sys

CORE = ("seccomp", "landlock", "rlimits")
PURPOSE = {
    "seccomp": "no sockets, new processes, signals to others, changes of files' names or modes",
    "landlock": "files: only Python's own and shared libraries can be read, nothing can be written",
    "rlimits": "memory, processor time, open files, output, core files",
    "user namespace": "no privilege on the machine, even for root",
    "pid namespace": "other processes have no name; all of a worker's end with it",
    "network namespace": "no network at all, not even loopback",
    "ipc namespace": "no System V or POSIX shared memory of others",
    "uts namespace": "the host's name stays as it is",
}

_SPAWN = (
    "fork",
    "vfork",
    "execve",
    "execveat",
    "kill",
    "pidfd_open",
    "pidfd_send_signal",
    "sendmsg",
    "recvmsg",
    "wait4",
    "waitid",
    "setsid",
)
# What starts a thread: it shares memory, folder, files and signals with the others, and leaves no namespace.
_THREAD = (0x100, 0x200, 0x400, 0x800, 0x10000)  # CLONE_VM FS FILES SIGHAND THREAD
_NOT_THREAD = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW*
_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range fsync fdatasync
    open openat stat lstat fstat newfstatat statx access faccessat faccessat2 readlink readlinkat getdents getdents64
    getcwd chdir fchdir umask dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl
    epoll_wait epoll_pwait eventfd eventfd2 fadvise64 copy_file_range sendfile flock ftruncate
    mmap munmap mprotect mremap madvise brk membarrier mlock munlock
    futex futex_waitv set_robust_list get_robust_list rseq set_tid_address arch_prctl
    exit exit_group rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend
    sigaltstack restart_syscall pause alarm setitimer getitimer nanosleep clock_nanosleep clock_gettime clock_getres
    gettimeofday time times getrusage getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups
    getpgrp getpgid getsid sysinfo uname getrandom getcpu sched_yield sched_getaffinity sched_getparam sched_getscheduler
    sched_get_priority_max sched_get_priority_min getpriority getrlimit sendto recvfrom shutdown getsockname
    getsockopt capget
""".split()
_TTY_QUERIES = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451, 0x5421)  # TCGETS TIOCGWINSZ FIONREAD FIONCLEX FIOCLEX FIONBIO
_FCNTL = (0, 1, 2, 3, 4, 1030)  # F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC
_PRCTL = (1, 3, 4, 15, 16, 22, 38, 39)  # PDEATHSIG, (un)dumpable, thread names, seccomp and no-new-privileges


@dataclasses.dataclass(frozen=True)
class Filters:
    """seccomp programs (BPF): `worker` for a worker and all below it, `child` on top of it for a program's process."""

    worker: bytes
    child: bytes


def build_filters() -> Filters | str:
    """The filters for this machine's architecture, or why there are none."""
    try:
        import pyseccomp  # looks for the shared library while it is imported
    except ImportError:
        return "the Python package pyseccomp is missing (pip install pyseccomp)"
    except RuntimeError:
        return "the library libseccomp is missing (Debian: apt-get install libseccomp2)"
    refuse = pyseccomp.ERRNO(errno.EPERM)
    worker = pyseccomp.SyscallFilter(refuse)
    _add(worker, pyseccomp.ALLOW, *_ALLOWED, *(set(_SPAWN) - {"execve", "execveat"}))
    for call, choices, argument in (("ioctl", _TTY_QUERIES, 1), ("fcntl", _FCNTL, 1), ("prctl", _PRCTL, 0)):
        for choice in choices:
            _add(worker, pyseccomp.ALLOW, call, arg=pyseccomp.Arg(argument, pyseccomp.EQ, choice))
    _add(worker, pyseccomp.ALLOW, "clone")
    _add(worker, pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # glibc then takes clone, whose flags a filter can read
    worker.add_rule(pyseccomp.ALLOW, "seccomp", pyseccomp.Arg(0, pyseccomp.EQ, 1))
    # A program that raises its own limits (a common idiom for deep recursion) is told that it did.
    _add(worker, pyseccomp.ERRNO(0), "setrlimit")
    _add(worker, pyseccomp.ALLOW, "prlimit64")
    worker.add_rule(pyseccomp.ALLOW, "socketpair", pyseccomp.Arg(0, pyseccomp.EQ, 1), pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xF, 1))
    child = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    _add(child, refuse, *_SPAWN, "seccomp")
    for flag, refused in [(flag, 0) for flag in _THREAD] + [(flag, flag) for flag in _NOT_THREAD]:
        _add(child, refuse, "clone", arg=pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, refused))
    for choice in (1, 22):  # PDEATHSIG: it dies with its worker; seccomp: a filter of its own could write into the kernel's log
        _add(child, refuse, "prctl", arg=pyseccomp.Arg(0, pyseccomp.EQ, choice))
    # Files opened to be read and emptied by the way, which Landlock before Linux 6.2 does not know; 3 asks for neither reading nor writing.
    for access, (call, argument) in itertools.product((os.O_RDONLY, 3), (("open", 1), ("openat", 2))):
        _add(child, refuse, call, arg=pyseccomp.Arg(argument, pyseccomp.MASKED_EQ, os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | access))
    _add(child, pyseccomp.ERRNO(0), "prlimit64", arg=pyseccomp.Arg(2, pyseccomp.NE, 0))
    return Filters(worker=_bpf(worker), child=_bpf(child))


def _add(rules, action: int, *calls: str, arg=None) -> None:
    """Add a rule for each call that this libseccomp and architecture know."""
    import pyseccomp

    for call in calls:
        if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, call) != -1:
            rules.add_rule(action, call, *(() if arg is None else (arg,)))


def _bpf(rules) -> bytes:
    import tempfile  # not in workers, which are to be light

    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


class _Program(ctypes.Structure):
    """struct sock_fprog of the kernel."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None)  # keeps the interpreter's lock across the call


def _call(function, *arguments) -> None:
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def prepare_filter(bpf: bytes) -> _Program:
    """A filter in the form `load_filter` takes; made before a fork, so that the child need not."""
    return _Program(len(bpf) // 8, bpf)


def no_new_privileges() -> None:
    """Give up for good what could raise this process's privileges; the kernel asks for that before a filter."""
    _call(_libc.prctl, 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


def drop_capabilities() -> None:
    """Give up what root may do besides; within namespaces of our own, what we may do there."""
    header = struct.pack("<Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    _call(_libc.capset, header, bytes(24))


def load_filter(program: _Program) -> None:
    """Put a seccomp filter over this process, for good. Raises OSError where the kernel refuses, as before `no_new_privileges`."""
    _call(_libc.prctl, 22, 2, ctypes.byref(program), 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def fork() -> int:
    """fork() of the C library: process id, 0 in the child.

    `os.fork` runs all that modules have registered for a fork (new seeds, new locks); in a process with one thread that is not needed,
    and it costs more than the fork itself, because it touches some 300 pages.
    """
    process = _python.fork()
    if process < 0:
        raise OSError("cannot fork")
    return process


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    _call(_libc.prctl, 1, signal.SIGKILL, 0, 0, 0)


def enter_namespaces() -> list[str]:
    """Leave the machine's namespaces and go on as process 1 of new ones; [] where the kernel does not allow it.

    The process that called stays behind as a shell that ends when process 1 does.
    """
    kinds = {
        "user namespace": 0x10000000,
        "pid namespace": 0x20000000,
        "network namespace": 0x40000000,
        "ipc namespace": 0x08000000,
        "uts namespace": 0x04000000,
    }
    user, group = os.getuid(), os.getgid()
    try:
        _call(_libc.unshare, sum(kinds.values()))
        # Not 0 inside: programs that look at their user id see an ordinary one.
        for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {user} 1"), ("gid_map", f"1000 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError:
        return []
    outer = os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        os.closerange(3, 64)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    die_with_parent()
    if select.select([outer], [], [], 0)[0]:  # it ended before the kernel was asked
        os._exit(1)
    os.close(outer)
    return list(kinds)


def restrict_files() -> str | None:
    """Landlock: from here on only Python and the shared libraries can be read. Returns why not where it cannot be."""
    try:
        import landlockpy
    except ImportError:
        return "the Python package landlockpy is missing (pip install landlockpy)"
    if landlockpy.abi_version() < 1:
        return "the kernel has no Landlock (Linux 5.13 or later with landlock among its security modules)"
    fs = landlockpy.AccessFS
    folders = {
        sys.prefix,
        sys.exec_prefix,
        sys.base_prefix,
        sys.base_exec_prefix,
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
    }
    files = ("/etc/localtime", "/etc/ld.so.cache", "/dev/zero", "/dev/urandom", "/dev/random")
    scopes = landlockpy.Scope.ABSTRACT_UNIX_SOCKET | landlockpy.Scope.SIGNAL
    with landlockpy.Ruleset(scoped=scopes) as rules:
        for path in sorted(folders | {"/usr/share/zoneinfo"}):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                rules.allow_path(path, fs.READ_FILE | fs.READ_DIR | fs.EXECUTE)
        for path in files:
            with contextlib.suppress(FileNotFoundError):
                rules.allow_path(path, fs.READ_FILE)
        rules.allow_path("/dev/null", fs.READ_FILE | fs.WRITE_FILE)
        rules.restrict()
    return None
