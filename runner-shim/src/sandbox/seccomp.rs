//! System calls that the child does without: those that lead out of the machine past guard, and those that look
//! into other processes.
//!
//! Sockets are an allow-list: TCP over IPv4 and IPv6, and nothing else. So there is no UDP, no raw socket, no netlink, no vsock
//! to the hypervisor, no kernel crypto, and none of the transports that Landlock's rules for TCP do not see (MPTCP,
//! SCTP, SMC). Unix sockets are among what is refused: a filter cannot read the path that `connect` is given, and the
//! Docker socket and D-Bus are such paths. Pairs of them (`socketpair`) lead nowhere, and stay.

use std::io;

/// `struct seccomp_data` (seccomp(2)): where the number is.
const NUMBER: u32 = 0;
/// Where the architecture is.
const ARCHITECTURE: u32 = 4;
/// Where the low half of an argument is, on a little-endian machine.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// `AUDIT_ARCH_*` (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// Numbers from here on are x32's, on x86-64: the same calls once more.
#[cfg(target_arch = "x86_64")]
const X32: Option<u32> = Some(0x4000_0000);
#[cfg(target_arch = "aarch64")]
const X32: Option<u32> = None;

/// Calls that are refused whatever their arguments.
const REFUSED: [libc::c_long; 20] = [
    // Into other processes, whatever their owner.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // The runner's keys may be in a keyring that the child inherits.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // It makes and connects sockets where no filter sees it.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Into the kernel.
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // Past directories that cannot be entered.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
];

/// What is asked of the filter besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listen {
    /// The network is the child's own.
    Allowed,
    /// Others could connect to it.
    Refused,
}

/// A filter, ready to be entered.
pub(super) struct Filter(Vec<libc::sock_filter>);

impl Filter {
    pub(super) fn new(listen: Listen) -> Self {
        let mut program = Program(Vec::new());
        program.load(ARCHITECTURE);
        program.unless_equal(NATIVE, &[refuse(libc::ENOSYS)]);
        program.load(NUMBER);
        if let Some(first) = X32 {
            program.when_at_least(first, &[refuse(libc::ENOSYS)]);
        }
        for call in REFUSED {
            program.when_equal(number(call), &[refuse(libc::EPERM)]);
        }
        if listen == Listen::Refused {
            program.when_equal(number(libc::SYS_listen), &[refuse(libc::EACCES)]);
        }
        program.when_equal(number(libc::SYS_socket), &socket());
        // TCP Fast Open connects by sending, which Landlock's rule for `connect` does not see.
        for (call, flags) in
            [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)]
        {
            program.when_equal(
                number(call),
                &[
                    load(argument(flags)),
                    jump(libc::BPF_JSET, FAST_OPEN, 0, 1),
                    refuse(libc::EPERM),
                    allow(),
                ],
            );
        }
        // Typing into the terminal that guard was started from.
        program.when_equal(
            number(libc::SYS_ioctl),
            &[
                load(argument(1)),
                jump(libc::BPF_JEQ, TYPE_INTO, 1, 0),
                jump(libc::BPF_JEQ, PASTE_INTO, 0, 1),
                refuse(libc::EPERM),
                allow(),
            ],
        );
        program.0.push(allow());
        Self(program.0)
    }

    /// Puts the thread behind the filter, for good. Allocates nothing.
    #[expect(unsafe_code, reason = "only the C library installs a filter")]
    pub(super) fn enter(&self) -> io::Result<()> {
        let length = u16::try_from(self.0.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len: length, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the kernel reads `len` instructions behind `filter`, which are there, and writes nothing.
        let done = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// `MSG_FASTOPEN`.
const FAST_OPEN: u32 = 0x2000_0000;
/// `TIOCSTI`.
const TYPE_INTO: u32 = 0x5412;
/// `TIOCLINUX`.
const PASTE_INTO: u32 = 0x541c;
/// The type of a socket without `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const TYPE_MASK: u32 = 0xf;

/// `socket` for TCP, whose every field is looked at.
fn socket() -> [libc::sock_filter; 10] {
    let [inet, inet6] = [libc::AF_INET, libc::AF_INET6].map(i32::cast_unsigned);
    let [stream, tcp] = [libc::SOCK_STREAM, libc::IPPROTO_TCP].map(i32::cast_unsigned);
    [
        load(argument(0)),
        jump(libc::BPF_JEQ, inet, 1, 0),
        jump(libc::BPF_JEQ, inet6, 0, 6),
        load(argument(1)),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, TYPE_MASK),
        jump(libc::BPF_JEQ, stream, 0, 3),
        load(argument(2)),
        jump(libc::BPF_JEQ, 0, 2, 0),
        jump(libc::BPF_JEQ, tcp, 1, 0),
        refuse(libc::EACCES),
    ]
}

/// Instructions, one after the other. The accumulator holds the call's number between the blocks.
struct Program(Vec<libc::sock_filter>);

impl Program {
    fn load(&mut self, offset: u32) {
        self.0.push(load(offset));
    }

    fn unless_equal(&mut self, value: u32, then: &[libc::sock_filter]) {
        self.0.push(jump(libc::BPF_JEQ, value, length(then), 0));
        self.0.extend_from_slice(then);
    }

    fn when_at_least(&mut self, value: u32, then: &[libc::sock_filter]) {
        self.0.push(jump(libc::BPF_JGE, value, 0, length(then)));
        self.0.extend_from_slice(then);
    }

    /// What follows must end in an answer, or leave the accumulator as it was. After it comes the next block.
    fn when_equal(&mut self, value: u32, then: &[libc::sock_filter]) {
        // What falls out of a block was looked at, and may go on.
        let mut then = then.to_vec();
        if then.last().is_some_and(|last| last.code != RETURN || last.k != libc::SECCOMP_RET_ALLOW)
        {
            then.push(allow());
        }
        self.0.push(jump(libc::BPF_JEQ, value, 0, length(&then)));
        self.0.append(&mut then);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "opcodes have 16 bits, blocks a few instructions"
)]
const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

const fn jump(test: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    let mut jump = statement(libc::BPF_JMP | libc::BPF_K | test, k);
    jump.jt = yes;
    jump.jf = no;
    jump
}

const fn refuse(error: i32) -> libc::sock_filter {
    statement(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ERRNO | (error.cast_unsigned() & libc::SECCOMP_RET_DATA),
    )
}

const fn allow() -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

#[expect(clippy::cast_possible_truncation, reason = "blocks have a few instructions")]
const fn length(block: &[libc::sock_filter]) -> u8 {
    block.len() as u8
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of calls are small"
)]
const fn number(call: libc::c_long) -> u32 {
    call as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

    /// What the kernel would answer: the instructions that are used here, carried out.
    fn answer(filter: &Filter, architecture: u32, call: libc::c_long, arguments: [u32; 6]) -> u32 {
        let read = |offset: u32| match offset {
            NUMBER => number(call),
            ARCHITECTURE => architecture,
            offset => arguments[((offset - 16) / 8) as usize],
        };
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let now = filter.0[at];
            at += 1;
            let code = u32::from(now.code);
            let yes = match code & 0xf0 {
                libc::BPF_JEQ => accumulator == now.k,
                libc::BPF_JGE => accumulator >= now.k,
                _ => accumulator & now.k != 0,
            };
            match code & 0x07 {
                libc::BPF_LD => accumulator = read(now.k),
                libc::BPF_ALU => accumulator &= now.k,
                libc::BPF_JMP => at += usize::from(if yes { now.jt } else { now.jf }),
                libc::BPF_RET => return now.k,
                other => panic!("{other}"),
            }
        }
    }

    fn refused(error: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | error.cast_unsigned()
    }

    #[test]
    fn tcp_is_the_only_socket() {
        let filter = Filter::new(Listen::Refused);
        let asked = |domain: i32, kind: i32, protocol: i32| {
            let arguments = [domain, kind, protocol, 0, 0, 0].map(i32::cast_unsigned);
            answer(&filter, NATIVE, libc::SYS_socket, arguments)
        };
        let (tcp, cloexec) = (libc::IPPROTO_TCP, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        for domain in [libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_STREAM | cloexec] {
                assert_eq!(asked(domain, kind, 0), ALLOWED);
                assert_eq!(asked(domain, kind, tcp), ALLOWED);
                for protocol in [132, 262, 256, libc::IPPROTO_UDP] {
                    assert_eq!(asked(domain, kind, protocol), refused(libc::EACCES), "{protocol}");
                }
            }
            for kind in
                [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET, libc::SOCK_RAW | cloexec]
            {
                assert_eq!(asked(domain, kind, 0), refused(libc::EACCES), "{kind}");
            }
        }
        for domain in (0..64).filter(|domain| ![libc::AF_INET, libc::AF_INET6].contains(domain)) {
            assert_eq!(asked(domain, libc::SOCK_STREAM, 0), refused(libc::EACCES), "{domain}");
        }
    }

    #[test]
    fn no_other_architecture_leads_around_the_filter() {
        let filter = Filter::new(Listen::Refused);
        // i386's `socketcall`, and x32's `socket`.
        assert_eq!(answer(&filter, 0x4000_0003, 102, [0; 6]), refused(libc::ENOSYS));
        if let Some(first) = X32 {
            let call = libc::SYS_socket + libc::c_long::from(first);
            assert_eq!(answer(&filter, NATIVE, call, [2, 2, 0, 0, 0, 0]), refused(libc::ENOSYS));
        }
    }

    #[test]
    fn looking_into_others_and_sending_past_connect_are_refused_and_the_rest_is_not() {
        let filter = Filter::new(Listen::Refused);
        for call in REFUSED {
            assert_eq!(answer(&filter, NATIVE, call, [0; 6]), refused(libc::EPERM), "{call}");
        }
        let calls = [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)];
        for (call, flags) in calls {
            let mut arguments = [FAST_OPEN; 6];
            assert_eq!(answer(&filter, NATIVE, call, arguments), refused(libc::EPERM), "{call}");
            arguments[flags] = 0x4000;
            assert_eq!(answer(&filter, NATIVE, call, arguments), ALLOWED, "{call}");
        }
        for (request, expected) in [
            (TYPE_INTO, refused(libc::EPERM)),
            (PASTE_INTO, refused(libc::EPERM)),
            (0x5413, ALLOWED),
        ] {
            let arguments = [0, request, 0, 0, 0, 0];
            assert_eq!(
                answer(&filter, NATIVE, libc::SYS_ioctl, arguments),
                expected,
                "{request:x}"
            );
        }
        for call in [libc::SYS_read, libc::SYS_connect, libc::SYS_socketpair, libc::SYS_execve] {
            assert_eq!(answer(&filter, NATIVE, call, [0; 6]), ALLOWED, "{call}");
        }
        let listens = [(Listen::Refused, refused(libc::EACCES)), (Listen::Allowed, ALLOWED)];
        for (listen, expected) in listens {
            let filter = Filter::new(listen);
            assert_eq!(answer(&filter, NATIVE, libc::SYS_listen, [0; 6]), expected);
        }
    }
}
