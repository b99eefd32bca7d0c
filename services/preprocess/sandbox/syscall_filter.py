"""A seccomp filter: after it, the process can compute, use what it has open, and end. Nothing else.

No file is opened, renamed or removed, no socket made, no process started, signaled or traced: the answer is EPERM.
Plain ctypes, because the filter is a table and no wheel carries libseccomp.
"""

import ctypes
import platform
import struct

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RETURN_ALLOW = 0x7FFF0000
_RETURN_ERRNO_EPERM = 0x00050001
_RETURN_KILL = 0x80000000
_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4

# Audit architecture and system call numbers of linux/audit.h and asm/unistd.h.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, None),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "exit": (60, 93),
    "fcntl": (72, 25),
    "ftruncate": (77, 46),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "ppoll": (271, 73),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}


def is_supported() -> bool:
    """Whether the table knows this machine's system calls."""
    return platform.system() == "Linux" and platform.machine() in _ARCHITECTURES


def install() -> None:
    """Bind the filter to this process, for good.

    Raises:
        OSError: the kernel refuses.
    """
    program = _program(platform.machine())
    buffer = ctypes.create_string_buffer(program)
    # struct sock_fprog: a count, padding to the pointer's alignment, the pointer.
    descriptor = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(descriptor))


def _program(machine: str) -> bytes:
    """Classic BPF: check the architecture, compare the number with each allowed one, else answer EPERM."""
    column = list(_ARCHITECTURES).index(machine)
    numbers = [number for row in _ALLOWED.values() if (number := row[column]) is not None]
    instructions = [
        (_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _RETURN_KILL),
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
        # A hit jumps over the comparisons that are left and the refusal behind them.
        *((_JUMP_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _RETURN_ERRNO_EPERM),
        (_RETURN, 0, 0, _RETURN_ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _prctl(option: int, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    if libc.prctl(option, *padded) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}) failed")
