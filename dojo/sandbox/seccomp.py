"""A system call filter for candidate programs, as classic BPF; standard library only.

It shuts what namespaces and dropped capabilities leave open: socket families that are not bound to a network
namespace (a virtual machine's vsock reaches the host), kernel keyrings, io_uring, BPF, tracing of other
processes, changing the limits of other processes (which could end a box's process 1), mount calls.
Everything else is allowed. Refused calls fail with EPERM (socket: EAFNOSUPPORT), as on a system without them.

Source: seccomp(2), linux/filter.h, the system call tables of x86_64 and aarch64.
"""

from __future__ import annotations

import errno
import platform
import struct

_LD_WORD, _JEQ, _JGE, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NR, _ARCH, _ARG0 = 0, 4, 16
_X32_BIT = 0x4000_0000
_SOCKET_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: each bound to the network namespace or to visible files."""

_COMMON = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)
"""io_uring_*, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd, mount_setattr."""
_DENIED = {
    # ptrace process_vm_readv process_vm_writev kcmp keyctl add_key request_key bpf perf_event_open userfaultfd
    # mount umount2 pivot_root chroot setns unshare open_by_handle_at kexec_load kexec_file_load init_module
    # finit_module delete_module swapon swapoff reboot acct quotactl syslog
    "x86_64": (
        *(101, 310, 311, 312, 250, 248, 249, 321, 298, 323),
        *(165, 166, 155, 161, 308, 272, 304, 246, 320, 175),
        *(313, 176, 167, 168, 169, 163, 179, 103),
    ),
    "aarch64": (
        *(117, 270, 271, 272, 219, 217, 218, 280, 241, 282),
        *(40, 39, 41, 51, 268, 97, 265, 104, 294, 105),
        *(273, 106, 224, 225, 142, 89, 60, 116),
    ),
}
_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_PRCTL = {"x86_64": 157, "aarch64": 167}
_PR_SET_PDEATHSIG = 1


def filter_program(machine: str = "", *, keep_parent_signal: bool = False) -> bytes:
    """The filter for a machine type (default: this one), as 8-byte instructions; empty if it is not known.

    Args:
        machine: as `platform.machine` says it.
        keep_parent_signal: also refuse to change the parent-death signal, for a program that is itself
            process 1 of its box and would otherwise outlive the harness.
    """
    machine = machine or platform.machine()
    if machine not in _DENIED:
        return b""
    refuse = _ERRNO | errno.EPERM
    code = [
        _op(_LD_WORD, _ARCH),
        _op(_JEQ, _AUDIT_ARCH[machine], 1, 0),
        _op(_RETURN, _KILL),
        _op(_LD_WORD, _NR),
    ]
    if machine == "x86_64":
        code += [_op(_JGE, _X32_BIT, 0, 1), _op(_RETURN, refuse)]
    for number in (*_DENIED[machine], *_COMMON):
        code += [_op(_JEQ, number, 0, 1), _op(_RETURN, refuse)]
    families = len(_SOCKET_FAMILIES)
    code += [_op(_JEQ, _SOCKET[machine], 0, families + 2), _op(_LD_WORD, _ARG0)]
    code += [_op(_JEQ, family, families - i, 0) for i, family in enumerate(_SOCKET_FAMILIES)]
    code += [_op(_RETURN, _ERRNO | errno.EAFNOSUPPORT)]
    if keep_parent_signal:
        code += [_op(_JEQ, _PRCTL[machine], 0, 4), _op(_LD_WORD, _ARG0), _op(_JEQ, _PR_SET_PDEATHSIG, 0, 1)]
        code += [_op(_RETURN, refuse), _op(_RETURN, _ALLOW)]
    code += [_op(_JEQ, _PRLIMIT[machine], 0, 3), _op(_LD_WORD, _ARG0), _op(_JEQ, 0, 1, 0)]
    code += [_op(_RETURN, refuse), _op(_RETURN, _ALLOW)]
    return b"".join(code)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
